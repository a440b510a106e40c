import { pino, type Logger } from 'pino';

export type { Logger };

/** A structured log, one JSON line an event, written synchronously: a line before a crash must be there after it. */
export function createLog(path: string | 2, level: string): Logger {
  const destination = pino.destination({ dest: path, sync: true, mkdir: true });
  // A disk that is full for the log is no reason to die.
  destination.on('error', () => undefined);
  return pino({ level, base: null }, destination);
}
