import { bind } from './libc.js';

const F_SETLEASE = 1024;
const F_WRLCK = 1;
const F_UNLCK = 2;

const fcntl = bind('int fcntl(int fd, int command, ...)');

/**
 * Whether any process, this one included, has the file of `fd` open besides `fd`. True as well where that cannot be known. The file must
 * not be opened by others meanwhile.
 *
 * The kernel grants a write lease exactly when nobody else has the file open (fcntl(2), F_SETLEASE); it is given back at once.
 */
export function isOpenElsewhere(fd: number): boolean {
  if (fcntl(fd, F_SETLEASE, 'int', F_WRLCK) === -1) return true;
  fcntl(fd, F_SETLEASE, 'int', F_UNLCK);
  return false;
}
