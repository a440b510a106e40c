import koffi from 'koffi';

import { FsError, fsError } from '../core/index.js';

export type CArgument = number | bigint | Buffer | string | null;

/** A C function as koffi calls it: buffers stand for pointers, every result fits a number. */
export type CFunction = (...args: CArgument[]) => number;

/** The C library node itself runs on, be it glibc or musl. */
const libc = koffi.load(null);

/** Binds a function by its C prototype in koffi's notation. A name libc does not have is an error here. */
export function bind(prototype: string): CFunction {
  return libc.func(prototype) as CFunction;
}

/** The same, run on a thread of koffi's pool: for calls that may wait. A result of -1 rejects with FsError. */
export function bindAsync(prototype: string): (...args: CArgument[]) => Promise<number> {
  const bound = libc.func(prototype);
  return (...args) =>
    new Promise((resolve, reject) => {
      bound.async(...args, (error: unknown, result: number) => {
        if (error instanceof Error) reject(error);
        else if (result === -1) reject(new FsError(lastErrno()));
        else resolve(result);
      });
    });
}

/** errno of the calling thread: to be read at once after the call it belongs to. */
export function lastErrno(): number {
  return koffi.errno();
}

/** The result, unless it is libc's -1: then errno, thrown. */
export function checked(result: number, what: string): number {
  if (result === -1) throw new FsError(lastErrno(), what);
  return result;
}

/** The address of a buffer's first byte, for structures that hold pointers. The caller keeps the buffer alive. */
export function addressOf(buffer: Buffer): bigint {
  return koffi.address(buffer);
}

/** `bytes` with the NUL that C wants. Bytes after a NUL of their own would be lost: EINVAL. */
export function cString(bytes: Buffer): Buffer {
  if (bytes.includes(0)) throw fsError('EINVAL', 'NUL in a path or name');
  const terminated = Buffer.alloc(bytes.length + 1);
  bytes.copy(terminated);
  return terminated;
}
