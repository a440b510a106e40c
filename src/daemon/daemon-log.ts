import { pino, type Logger } from 'pino';

export type { Logger };

/** A structured log, one JSON line an event, written synchronously: a line before a crash must be there after it. */
export function createLog(path: string | 2, level: string): Logger {
  return pino({ level, base: null }, pino.destination({ dest: path, sync: true, mkdir: true }));
}
