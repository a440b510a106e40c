import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  S_ISGID,
  S_ISUID,
  S_ISVTX,
} from '../core/index.js';

const TYPES: Readonly<Record<number, { letter: string; name: string }>> = {
  [S_IFREG]: { letter: '-', name: 'file' },
  [S_IFDIR]: { letter: 'd', name: 'directory' },
  [S_IFLNK]: { letter: 'l', name: 'symlink' },
  [S_IFIFO]: { letter: 'p', name: 'fifo' },
  [S_IFSOCK]: { letter: 's', name: 'socket' },
  [S_IFCHR]: { letter: 'c', name: 'character-device' },
  [S_IFBLK]: { letter: 'b', name: 'block-device' },
};

export function fileTypeName(mode: number): string {
  return TYPES[mode & S_IFMT]?.name ?? 'unknown';
}

/** One of the three groups of a mode; `special` is the letter that set-id or sticky puts in the place of `x`. */
function permissionText(bits: number, special: string | undefined): string {
  const execute = bits & 1 ? 'x' : '-';
  const last = special === undefined ? execute : bits & 1 ? special : special.toUpperCase();
  return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${last}`;
}

/** A mode as `ls -l` shows it: `drwxr-sr-t`. */
export function modeText(mode: number): string {
  return (
    (TYPES[mode & S_IFMT]?.letter ?? '?') +
    permissionText(mode >> 6, mode & S_ISUID ? 's' : undefined) +
    permissionText(mode >> 3, mode & S_ISGID ? 's' : undefined) +
    permissionText(mode, mode & S_ISVTX ? 't' : undefined)
  );
}
