import { FsError, Errno } from '../../core/index.js';
import type { XattrRow } from '../../manifest/index.js';
import { getXattr, listXattrs } from '../../posix/index.js';

/**
 * What a version keeps: what users set, what containers and capabilities need, ACLs. Not kept are labels that a machine's
 * own policy gives (SELinux, IMA). Without privilege the kernel does not list trusted.*.
 */
const KEPT_PREFIXES = ['user.', 'trusted.', 'system.posix_acl_'];
const KEPT_NAMES = new Set(['security.capability']);

/** The extended attributes of a path to keep, by name, not following a symbolic link. */
function readXattrs(path: Buffer): XattrRow[] {
  const names = listXattrs(path);
  if (names.length === 0) return [];
  const rows: XattrRow[] = [];
  for (const name of names.sort((a, b) => Buffer.compare(a, b))) {
    if (!isKept(name)) continue;
    const value = getXattr(path, name);
    if (value !== undefined) rows.push({ name, value });
  }
  return rows;
}

/** As `readXattrs`, for a file that may have been removed since it was seen: then none. */
export function readXattrsIfThere(path: Buffer): XattrRow[] {
  try {
    return readXattrs(path);
  } catch (error) {
    if (error instanceof FsError && error.errno === Errno.ENOENT) return [];
    throw error;
  }
}

function isKept(name: Buffer): boolean {
  const text = name.toString('latin1');
  return KEPT_NAMES.has(text) || KEPT_PREFIXES.some((prefix) => text.startsWith(prefix));
}

/** The attributes of a file in one array, for a message between threads: an array for each name and value would weigh more than they do. */
export function packXattrs(rows: readonly XattrRow[]): Uint8Array {
  return Buffer.concat(
    rows.flatMap(({ name, value }) => {
      const lengths = Buffer.alloc(8);
      lengths.writeUInt32LE(name.length, 0);
      lengths.writeUInt32LE(value.length, 4);
      return [lengths, name, value];
    }),
  );
}

export function unpackXattrs(packed: Uint8Array): XattrRow[] {
  const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.length);
  const rows: XattrRow[] = [];
  for (let at = 0; at < bytes.length;) {
    const nameEnd = at + 8 + bytes.readUInt32LE(at);
    const end = nameEnd + bytes.readUInt32LE(at + 4);
    rows.push({ name: bytes.subarray(at + 8, nameEnd), value: bytes.subarray(nameEnd, end) });
    at = end;
  }
  return rows;
}

export function sameXattrs(a: readonly XattrRow[], b: readonly XattrRow[]): boolean {
  return (
    a.length === b.length &&
    a.every((row, index) => {
      const other = b[index];
      return other !== undefined && row.name.equals(other.name) && row.value.equals(other.value);
    })
  );
}
