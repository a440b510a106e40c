import { readFileSync } from 'node:fs';

const REPLACEMENT_CHARACTER = '\ufffd';

/**
 * The bytes of a command-line argument. Node decodes arguments as UTF-8 and loses what is not; the kernel still has them
 * (proc(5), cmdline), so that `cairn cat` reaches a file whatever its name.
 */
export function argumentBytes(argument: string): Buffer {
  const decoded = Buffer.from(argument, 'utf8');
  if (!argument.includes(REPLACEMENT_CHARACTER)) return decoded;
  const raw = readFileSync('/proc/self/cmdline').toString('latin1').split('\0');
  const match = raw
    .map((word) => Buffer.from(word, 'latin1'))
    .find((word) => word.toString('utf8') === argument);
  return match ?? decoded;
}
