import { blockIdOf, CairnError, type Extent } from '../core/index.js';

/**
 * The extents of a content as the catalog stores them: one record after the other, in order of offset, little-endian:
 *
 *   offset in the file    u64
 *   length                u32
 *   offset in the block   u32
 *   block id              32 bytes
 */
const RECORD_BYTES = 48;
const ID_AT = 16;

export function packExtents(extents: readonly Extent[]): Buffer {
  const packed = Buffer.alloc(extents.length * RECORD_BYTES);
  let at = 0;
  for (const extent of extents) {
    packed.writeBigUInt64LE(BigInt(extent.offset), at);
    packed.writeUInt32LE(extent.length, at + 8);
    packed.writeUInt32LE(extent.blockOffset, at + 12);
    packed.write(extent.block, at + ID_AT, 'hex');
    at += RECORD_BYTES;
  }
  return packed;
}

/** @throws CairnError `corrupt` when `packed` is no whole number of records. */
export function unpackExtents(packed: Buffer): Extent[] {
  if (packed.length % RECORD_BYTES !== 0) {
    throw new CairnError(
      'corrupt',
      `the catalog holds ${String(packed.length)} bytes of extents, not whole records`,
    );
  }
  const extents: Extent[] = [];
  for (let at = 0; at < packed.length; at += RECORD_BYTES) {
    extents.push({
      offset: Number(packed.readBigUInt64LE(at)),
      length: packed.readUInt32LE(at + 8),
      blockOffset: packed.readUInt32LE(at + 12),
      block: blockIdOf(packed.subarray(at + ID_AT, at + RECORD_BYTES)),
    });
  }
  return extents;
}
