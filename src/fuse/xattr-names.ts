import { fsError } from '../core/index.js';
import type { Caller } from '../vfs/index.js';

/** What xattrs are taken: with `system.` ACLs are left out, which nothing here would act on. */
const XATTR_NAMESPACES = ['user.', 'trusted.', 'security.'].map((namespace) => Buffer.from(namespace));

/**
 * The kernel leaves it to the file system what a name must be like (xattr(7)). Refused, not kept without effect, ACLs are what `cp -a` and
 * tar then do without.
 */
export function checkedXattrName(name: Buffer): Buffer {
  const namespace = XATTR_NAMESPACES.find((one) => name.indexOf(one) === 0);
  if (namespace === undefined) throw fsError('EOPNOTSUPP');
  if (name.length === namespace.length) throw fsError('EINVAL');
  return name;
}

/** A version may hold ACLs that an import brought; what is refused is not listed either, nor to others than root what only root may read. */
export function listedXattrs(names: Buffer, { uid }: Caller): Buffer {
  const shown = names
    .toString('latin1')
    .split('\0')
    .filter((name) => !name.startsWith('system.') && (uid === 0 || !name.startsWith('trusted.')));
  return Buffer.from(shown.join('\0'), 'latin1');
}
