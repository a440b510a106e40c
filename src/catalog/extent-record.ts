import { crc32 } from 'node:zlib';
import { blockIdOf, CairnError, type Extent } from '../core/index.js';

/**
 * The extents of a content as the catalog stores them: one record after the other, in order of offset, little-endian:
 *
 *   offset in the file    u64
 *   length                u32
 *   offset in the block   u32
 *   block id              32 bytes
 *
 * and at the end the CRC-32 (u32) of the content's id, its size (f64) and the records: who reads a row stores a file by it, and SQLite does
 * not notice when a byte of it changes. Rows of earlier releases have none.
 */
const RECORD_BYTES = 48;
const ID_AT = 16;
const CHECKSUM_BYTES = 4;

/** A row of `content`, as the catalog stores it. */
interface StoredContent {
  hash: Buffer;
  size: number;
  extents: Buffer;
}

export function packExtents(hash: Buffer, size: number, extents: readonly Extent[]): Buffer {
  const packed = Buffer.alloc(extents.length * RECORD_BYTES + CHECKSUM_BYTES);
  let at = 0;
  for (const extent of extents) {
    packed.writeBigUInt64LE(BigInt(extent.offset), at);
    packed.writeUInt32LE(extent.length, at + 8);
    packed.writeUInt32LE(extent.blockOffset, at + 12);
    packed.write(extent.block, at + ID_AT, 'hex');
    at += RECORD_BYTES;
  }
  packed.writeUInt32LE(checksum(hash, size, packed.subarray(0, at)), at);
  return packed;
}

/** @throws CairnError `corrupt` when the row is not what `packExtents` made. */
export function unpackExtents({ hash, size, extents: packed }: StoredContent): Extent[] {
  const records = recordsOf(hash, size, packed);
  if (records === undefined) {
    throw new CairnError('corrupt', `the catalog's row of content ${hash.toString('hex')} does not verify`, {
      hint: 'cairn fsck --repair makes it anew',
    });
  }
  const extents: Extent[] = [];
  for (let at = 0; at < records.length; at += RECORD_BYTES) {
    extents.push({
      offset: Number(records.readBigUInt64LE(at)),
      length: records.readUInt32LE(at + 8),
      blockOffset: records.readUInt32LE(at + 12),
      block: blockIdOf(records.subarray(at + ID_AT, at + RECORD_BYTES)),
    });
  }
  return extents;
}

/** Whether a row verifies, its extents follow one another within the size, and `isKnown` says yes to each block's id. */
export function isSoundContent(row: StoredContent, isKnown: (block: Buffer) => boolean): boolean {
  const { hash, size, extents: packed } = row;
  const records = Buffer.isBuffer(packed) ? recordsOf(hash, size, packed) : undefined;
  if (records === undefined) return false;
  let end = 0n;
  for (let at = 0; at < records.length; at += RECORD_BYTES) {
    const offset = records.readBigUInt64LE(at);
    if (offset < end) return false;
    end = offset + BigInt(records.readUInt32LE(at + 8));
    if (!isKnown(records.subarray(at + ID_AT, at + RECORD_BYTES))) return false;
  }
  return end <= BigInt(size);
}

/** The records alone; undefined when they do not verify. */
function recordsOf(hash: Buffer, size: number, packed: Buffer): Buffer | undefined {
  switch (packed.length % RECORD_BYTES) {
    case 0:
      return packed;
    case CHECKSUM_BYTES: {
      const records = packed.subarray(0, -CHECKSUM_BYTES);
      return checksum(hash, size, records) === packed.readUInt32LE(records.length) ? records : undefined;
    }
    default:
      return undefined;
  }
}

function checksum(hash: Buffer, size: number, records: Buffer): number {
  const sizeBytes = Buffer.alloc(8);
  sizeBytes.writeDoubleLE(size);
  return crc32(records, crc32(sizeBytes, crc32(hash)));
}
