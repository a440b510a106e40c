declare const brand: unique symbol;
type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** SHA-256 of a block's raw bytes, 64 lower-case hex digits. */
export type BlockId = Branded<string, 'BlockId'>;

/** Names a whole file's bytes (FORMAT.md, rules C-*), 64 lower-case hex digits. */
export type ContentId = Branded<string, 'ContentId'>;

/** SHA-256 of a manifest's index object, 64 lower-case hex digits. */
export type ManifestRoot = Branded<string, 'ManifestRoot'>;

/** An inode number: the same on every machine and in every later version, and the nodeid the kernel sees. */
export type Ino = number;

/** The root directory of every workspace; also the kernel's FUSE_ROOT_ID. */
export const ROOT_INO: Ino = 1;

const HEX_64 = /^[0-9a-f]{64}$/;

export function isHexId(text: string): boolean {
  return HEX_64.test(text);
}

/** The id for 32 raw digest bytes, as they stand in manifests. */
export function blockIdOf(digest: Buffer): BlockId {
  return digest.toString('hex') as BlockId;
}

export function contentIdOf(digest: Buffer): ContentId {
  return digest.toString('hex') as ContentId;
}

/** The 32 bytes of an id. */
export function bytesOfId(id: BlockId | ContentId | ManifestRoot): Buffer {
  return Buffer.from(id, 'hex');
}
