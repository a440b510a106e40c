import { fsError, NAME_MAX_BYTES } from '../core/index.js';

const SLASH = 0x2f;
const DOT = 0x2e;

/** Throws ENAMETOOLONG or EINVAL for what cannot be an entry's name (POSIX, "Filename"). */
export function checkName(name: Buffer): void {
  if (name.length > NAME_MAX_BYTES) throw fsError('ENAMETOOLONG');
  if (name.length === 0 || name.includes(SLASH) || name.includes(0)) throw fsError('EINVAL');
  if (name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT)))
    throw fsError('EINVAL');
}
