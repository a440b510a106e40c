const SEPARATOR = Buffer.from('/');

/**
 * A path below a directory's. Paths of a tree are raw bytes, relative to its root, `/`-separated, without a leading slash; the root's is empty.
 */
export function joinPath(directory: Buffer, name: Buffer): Buffer {
  return directory.length === 0 ? name : Buffer.concat([directory, SEPARATOR, name]);
}
