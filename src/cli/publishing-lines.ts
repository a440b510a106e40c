import type { PublishQueue } from '../daemon/index.js';
import { durationText, timeText } from './quantities.js';

/** What waits to be published, for a person; nothing where nothing does. */
export function publishingLines({ waiting, failure }: PublishQueue, nowMs: number): string[] {
  if (waiting.length === 0) return [];
  const why = failure === undefined ? '' : `: ${failure.problem}`;
  const lines = [`${String(waiting.length)} sealed, waiting to be published${why}`];
  for (const { message, author, sealedAtMs } of waiting) {
    const [title = ''] = message.split('\n', 1);
    lines.push(`  sealed ${timeText(sealedAtMs)} by ${author}${title === '' ? '' : `: ${title}`}`);
  }
  if (failure !== undefined) {
    const { sinceMs, nextAttemptMs } = failure;
    const next =
      nextAttemptMs === undefined
        ? 'not tried again by itself'
        : `next attempt in ${durationText(Math.max(0, nextAttemptMs - nowMs))}`;
    lines.push(`  publishing fails since ${timeText(sinceMs)}, ${next}`);
  }
  return lines;
}
