import { inspect } from 'node:util';
import { CairnError, messageOf, systemCode, type ErrorCode } from '../core/index.js';

/** What to do, where whoever threw had no better advice. */
const HINTS: Readonly<Record<ErrorCode, string>> = {
  failed: 'run it again with --debug to see where',
  usage: 'see cairn --help',
  'not-found': 'check the name',
  conflict: 'see what is there now, then try again',
  unreachable: 'check --store, --catalog and the network: cairn doctor',
  'access-denied': 'check credentials and permissions: cairn doctor',
  corrupt: 'nothing of it was used; restore it from a copy',
  'no-space': 'free some space, then run it again',
  'changed-while-read': 'run it again when nothing writes to it',
  unsupported: 'see what this machine can do: cairn doctor',
};

const SYSTEM_CODES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ['not-found', 'check the path'],
  ENOTDIR: ['not-found', 'check the path'],
  EACCES: ['failed', 'check the permissions'],
  EPERM: ['failed', 'check the permissions'],
  EROFS: ['failed', 'it is on a read-only file system'],
  ENOSPC: ['no-space', HINTS['no-space']],
  EDQUOT: ['no-space', HINTS['no-space']],
  ENOTCONN: ['failed', 'a dead mount is in the way: cairn unmount it'],
};

/** An error of Node's own becomes one for a person; what nobody foresaw says how to learn more. */
function errorForAPerson(error: unknown): CairnError {
  if (error instanceof CairnError) return error;
  const known = SYSTEM_CODES[systemCode(error) ?? ''];
  if (known !== undefined)
    return new CairnError(known[0], messageOf(error), { hint: known[1], cause: error });
  return new CairnError('failed', messageOf(error), {
    hint: 'run it again with --debug to see where',
    cause: error,
  });
}

/** Messages may quote names from a tree, which may hold anything. */
function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is replaced
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
}

/** Prints an error on standard error: one line, or one JSON line; with `debug` its stack too. Returns the exit code. */
export function reportError(error: unknown, options: { json: boolean; debug: boolean }): number {
  const shown = errorForAPerson(error);
  const message = oneLine(shown.message);
  const hint = oneLine(shown.hint ?? HINTS[shown.code]);
  process.stderr.write(
    options.json
      ? `${JSON.stringify({ error: { code: shown.code, message, hint } })}\n`
      : `cairn: ${message}: ${hint}\n`,
  );
  if (options.debug) process.stderr.write(`${inspect(error)}\n`);
  return shown.exitCode;
}
