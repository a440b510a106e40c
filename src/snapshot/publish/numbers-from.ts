import type { NumberSource } from '../../merge/index.js';

/** Inode numbers and cookies of a reservation (`Catalog.reserveNumbers`), from its first on. */
export function numbersFrom(firstIno: number, firstCookie = firstIno): NumberSource {
  let ino = firstIno;
  let cookie = firstCookie;
  return { ino: () => ino++, cookie: () => cookie++ };
}
