import {
  BLOCK_MAX_BYTES,
  CairnError,
  MANIFEST_MAX_BYTES,
  MANIFEST_PIECE_BYTES,
  blockIdOf,
  bytesOfId,
  type BlockId,
  type ManifestRoot,
} from '../core/index.js';
import { sha256 } from '../blocks/index.js';
import { PAGE_BYTES } from './schema.js';

const MAGIC = 0x4d4e5243; // 'CRNM', little-endian
const FORMAT_VERSION = 1;
const HEADER_BYTES = 24;
const RUN_BYTES = 40;

/**
 * Where index objects are: what publishing and fetching need of an ObjectStore, with the promises that one
 * makes.
 */
export interface IndexStore {
  /** `expected`: a version names it, so it must be there. */
  get(key: string, options?: { signal?: AbortSignal; expected?: boolean }): Promise<Buffer>;
  put(key: string, body: Uint8Array, options?: { ifAbsent?: boolean }): Promise<unknown>;
}

/** `length` bytes of the database are those of `block` from `blockOffset`. */
export interface Run {
  blockOffset: number;
  length: number;
  block: BlockId;
}

/** Where the bytes of a stored manifest are: its runs, in order, are the database. */
export interface ManifestIndex {
  sizeBytes: number;
  runs: readonly Run[];
}

/** The key of an index object (FORMAT.md O-1). */
export function manifestKey(root: ManifestRoot): string {
  return `manifests/${root}`;
}

/** The root an index's bytes have (M-10). */
export function rootOf(index: Uint8Array): ManifestRoot {
  return sha256(index).toString('hex') as ManifestRoot;
}

/** The index object's bytes (M-9). */
export function encodeIndex(index: ManifestIndex): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + RUN_BYTES * index.runs.length);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(FORMAT_VERSION, 4);
  bytes.writeBigUInt64LE(BigInt(index.sizeBytes), 8);
  bytes.writeUInt32LE(index.runs.length, 16);
  let at = HEADER_BYTES;
  for (const { blockOffset, length, block } of index.runs) {
    bytes.writeUInt32LE(blockOffset, at);
    bytes.writeUInt32LE(length, at + 4);
    bytesOfId(block).copy(bytes, at + 8);
    at += RUN_BYTES;
  }
  return bytes;
}

/** Reads an index object and holds it to M-9 and M-10. Throws `CairnError('corrupt')` naming the root. */
export function decodeIndex(root: ManifestRoot, bytes: Buffer): ManifestIndex {
  if (rootOf(bytes) !== root) throw corruptIndex(root, 'its bytes hash to another root');
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) throw corruptIndex(root, 'wrong magic');
  if (bytes.readUInt32LE(4) !== FORMAT_VERSION) {
    throw corruptIndex(root, `unknown format version ${String(bytes.readUInt32LE(4))}`);
  }
  const sizeBytes = Number(bytes.readBigUInt64LE(8));
  const runCount = bytes.readUInt32LE(16);
  if (bytes.readUInt32LE(20) !== 0) throw corruptIndex(root, 'reserved bytes are not 0');
  if (bytes.length !== HEADER_BYTES + RUN_BYTES * runCount) {
    throw corruptIndex(root, `${String(bytes.length)} bytes do not hold ${String(runCount)} runs`);
  }
  if (sizeBytes === 0 || sizeBytes % PAGE_BYTES !== 0 || sizeBytes > MANIFEST_MAX_BYTES)
    throw corruptIndex(root, `size ${String(sizeBytes)}`);

  const runs: Run[] = [];
  let sum = 0;
  for (let at = HEADER_BYTES; at < bytes.length; at += RUN_BYTES) {
    const blockOffset = bytes.readUInt32LE(at);
    const length = bytes.readUInt32LE(at + 4);
    const isLast = at + RUN_BYTES === bytes.length;
    if (
      length === 0 ||
      blockOffset + length > BLOCK_MAX_BYTES ||
      (length % MANIFEST_PIECE_BYTES !== 0 && !isLast)
    ) {
      throw corruptIndex(root, `run of ${String(length)} bytes at ${String(blockOffset)}`);
    }
    runs.push({ blockOffset, length, block: blockIdOf(bytes.subarray(at + 8, at + RUN_BYTES)) });
    sum += length;
  }
  if (sum !== sizeBytes) {
    throw corruptIndex(root, `its runs add up to ${String(sum)} bytes, not ${String(sizeBytes)}`);
  }
  return { sizeBytes, runs };
}

export function corruptIndex(root: ManifestRoot, reason: string): CairnError {
  return new CairnError('corrupt', `index of manifest ${root} is corrupt: ${reason}`);
}
