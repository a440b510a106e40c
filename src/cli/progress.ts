import { sizeText, durationText } from './quantities.js';

/** How far a long job is. Totals are not there while they are not known, and may grow. */
export interface ProgressState {
  filesDone: number;
  filesTotal?: number;
  bytesDone: number;
  bytesTotal?: number;
}

export interface Progress {
  update(state: ProgressState): void;
  /** Leaves the terminal as it was. */
  stop(): void;
}

const LINE_INTERVAL_MS = 5000;

function progressText(
  { filesDone, filesTotal, bytesDone, bytesTotal }: ProgressState,
  elapsedMs: number,
): string {
  const bytesPerMs = elapsedMs === 0 ? 0 : bytesDone / elapsedMs;
  const files = filesTotal === undefined ? '' : `/${filesTotal.toLocaleString('en')}`;
  const bytes = bytesTotal === undefined ? '' : ` of ${sizeText(bytesTotal)}`;
  const left =
    bytesPerMs === 0 || bytesTotal === undefined
      ? ''
      : `, ${durationText(Math.max(0, bytesTotal - bytesDone) / bytesPerMs)} left`;
  const rate = sizeText(Math.round(bytesPerMs * 1000));
  return `${filesDone.toLocaleString('en')}${files} files, ${sizeText(bytesDone)}${bytes}, ${rate}/s${left}`;
}

async function progressBar(label: string): Promise<Progress> {
  const { SingleBar } = await import('cli-progress');
  const bar = new SingleBar({
    format: `${label} [{bar}] {percentage}% {text}`,
    stream: process.stderr,
    barsize: 24,
    fps: 10,
    clearOnComplete: true,
    hideCursor: null,
  });
  const startMs = performance.now();
  bar.start(1, 0, { text: '' });
  return {
    update: (state) => {
      bar.setTotal(Math.max(1, state.bytesTotal ?? state.bytesDone));
      bar.update(state.bytesDone, { text: progressText(state, performance.now() - startMs) });
    },
    stop: () => {
      bar.stop();
    },
  };
}

/** At most one line every five seconds: a job that is over sooner prints none. */
function progressLines(label: string): Progress {
  const startMs = performance.now();
  let printedMs = startMs;
  return {
    update: (state) => {
      const nowMs = performance.now();
      if (nowMs - printedMs < LINE_INTERVAL_MS) return;
      printedMs = nowMs;
      process.stderr.write(`${label}: ${progressText(state, nowMs - startMs)}\n`);
    },
    stop: () => undefined,
  };
}

/** Progress on standard error: a bar with rate and time left on a terminal, plain lines elsewhere, nothing under `--json`. */
export async function openProgress(label: string, json: boolean): Promise<Progress> {
  if (json) return { update: () => undefined, stop: () => undefined };
  return process.stderr.isTTY ? progressBar(label) : progressLines(label);
}
