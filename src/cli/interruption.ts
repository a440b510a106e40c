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
