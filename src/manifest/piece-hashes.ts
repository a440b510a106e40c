import { createXXHash64, type IHasher } from 'hash-wasm';
import { open, type FileHandle } from 'node:fs/promises';
import { MANIFEST_PIECE_BYTES } from '../core/index.js';
import { readAt } from './read-at.js';

/*
 * The hashes of a database's pieces (FORMAT.md M-9), private to a machine: its size in bytes (u64, little-endian), then 8 bytes of
 * xxHash64 for each piece. By the piece, so that those of a manifest follow from its parent's at the cost of what changed.
 */

const HEADER_BYTES = 8;
const HASH_BYTES = 8;
const READ_BYTES = 64 * MANIFEST_PIECE_BYTES;

/** The hashes of all pieces of the file. */
export async function hashPieces(path: string): Promise<Buffer> {
  return await withFile(path, async (file, hasher, sizeBytes) => {
    const hashes = emptyHashes(sizeBytes);
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, sizeBytes));
    for (let position = 0; position < sizeBytes; position += READ_BYTES) {
      const read = await readAt(file, buffer, position);
      for (let at = 0; at < read.length; at += MANIFEST_PIECE_BYTES) {
        putHash(
          hashes,
          (position + at) / MANIFEST_PIECE_BYTES,
          hasher,
          read.subarray(at, at + MANIFEST_PIECE_BYTES),
        );
      }
    }
    return hashes;
  });
}

/** The hashes of the file, of which only `pieces` are others than in the file that `before` is of. */
export async function rehashPieces(path: string, before: Buffer, pieces: Iterable<number>): Promise<Buffer> {
  return await withFile(path, async (file, hasher, sizeBytes) => {
    const hashes = emptyHashes(sizeBytes);
    before.copy(hashes, HEADER_BYTES, HEADER_BYTES);
    const buffer = Buffer.allocUnsafe(MANIFEST_PIECE_BYTES);
    for (const piece of pieces) {
      putHash(hashes, piece, hasher, await readAt(file, buffer, piece * MANIFEST_PIECE_BYTES));
    }
    return hashes;
  });
}

async function withFile(
  path: string,
  work: (file: FileHandle, hasher: IHasher, sizeBytes: number) => Promise<Buffer>,
): Promise<Buffer> {
  const hasher = await createXXHash64();
  const file = await open(path, 'r');
  try {
    return await work(file, hasher, (await file.stat()).size);
  } finally {
    await file.close();
  }
}

function emptyHashes(sizeBytes: number): Buffer {
  const hashes = Buffer.alloc(HEADER_BYTES + HASH_BYTES * Math.ceil(sizeBytes / MANIFEST_PIECE_BYTES));
  hashes.writeBigUInt64LE(BigInt(sizeBytes), 0);
  return hashes;
}

function putHash(hashes: Buffer, piece: number, hasher: IHasher, bytes: Buffer): void {
  hashes.set(hasher.init().update(bytes).digest('binary'), HEADER_BYTES + HASH_BYTES * piece);
}
