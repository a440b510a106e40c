import { CairnError } from '../core/index.js';

/**
 * Runs `work` with a signal that SIGINT and SIGTERM abort, so that it can put away what it began. A second one ends the process
 * at once. `consequence` completes the error: what is left.
 */
export async function interruptible<Result>(
  consequence: string,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const abort = (): void => {
    release();
    controller.abort(new CairnError('failed', 'interrupted', { hint: consequence }));
  };
  const release = (): void => {
    process.off('SIGINT', abort);
    process.off('SIGTERM', abort);
  };
  process.on('SIGINT', abort);
  process.on('SIGTERM', abort);
  try {
    return await work(controller.signal);
  } finally {
    release();
  }
}

/**
 * Runs `work` with a promise that resolves at SIGINT or SIGTERM: to end is then its to do, as what was asked for. A second one ends the process at
 * once.
 */
export async function untilInterrupted(work: (interrupted: Promise<void>) => Promise<void>): Promise<void> {
  let tell = (): void => undefined;
  const interrupted = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const interrupt = (): void => {
    release();
    tell();
  };
  const release = (): void => {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    await work(interrupted);
  } finally {
    release();
  }
}
