import prettyBytes from 'pretty-bytes';
import prettyMilliseconds from 'pretty-ms';

/** Bytes as a person reads them: `12 KiB`. */
export function sizeText(bytes: number): string {
  return prettyBytes(bytes, { binary: true });
}

/** A duration as a person reads it: `4 ms`, `1.2 s`, `3 min 20 s`. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${String(Math.round(ms))} ms`;
  return prettyMilliseconds(ms)
    .replaceAll(/(\d)([a-z])/g, '$1 $2')
    .replace(/ m\b/, ' min');
}

/** `1 file`, `12,345 files`. */
export function countText(count: number, singular: string, plural = `${singular}s`): string {
  return `${count.toLocaleString('en')} ${count === 1 ? singular : plural}`;
}

/** Local time to the minute, as `ls` shows it: `2026-01-31 09:05`. */
export function timeText(epochMs: number): string {
  const date = new Date(epochMs);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${String(date.getFullYear())}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
