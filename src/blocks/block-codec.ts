import binding from 'zstd-napi/binding.js';
import { BLOCK_MAX_BYTES, blockIdOf, bytesOfId, CairnError, messageOf, type BlockId } from '../core/index.js';
import type { EncodedBlock } from './block-store.js';
import { sha256 } from './digest.js';

const MAGIC = 0x424e5243; // 'CRNB', little-endian
const FORMAT_VERSION = 1;
const CODEC_NONE = 0;
const CODEC_ZSTD = 1;
const ENCRYPTION_NONE = 0;
const HEADER_BYTES = 16;

/** A stored block is never larger: zstd is only used where it makes the payload smaller (FORMAT.md B-5). */
export const BLOCK_OBJECT_MAX_BYTES = HEADER_BYTES + BLOCK_MAX_BYTES;

/** On source trees level 1 packs a quarter faster than level 3 and a tenth less densely; it unpacks no slower. */
const ZSTD_LEVEL = 1;

/** A thread's own zstd state, made on first use: contexts are costly to make and must not be shared. */
let compressor: { context: binding.CCtx; scratch: Buffer } | undefined;
let decompressor: binding.DCtx | undefined;

/**
 * Hashes and packs 1 to BLOCK_MAX_BYTES raw bytes as FORMAT.md B-3 lays them out. `object` has a memory of its own, so
 * that it can be transferred between threads.
 */
export function encodeBlock(raw: Uint8Array): EncodedBlock {
  if (raw.length === 0 || raw.length > BLOCK_MAX_BYTES) {
    throw new Error(`a block has 1 to ${String(BLOCK_MAX_BYTES)} bytes, not ${String(raw.length)}`);
  }
  compressor ??= {
    context: new binding.CCtx(),
    scratch: Buffer.allocUnsafeSlow(binding.compressBound(BLOCK_MAX_BYTES)),
  };
  const packedLength = compressor.context.compress(compressor.scratch, raw, ZSTD_LEVEL);
  const codec = packedLength < raw.length ? CODEC_ZSTD : CODEC_NONE;
  const payload = codec === CODEC_ZSTD ? compressor.scratch.subarray(0, packedLength) : raw;

  const object = Buffer.allocUnsafeSlow(HEADER_BYTES + payload.length);
  object.writeUInt32LE(MAGIC, 0);
  object.writeUInt8(FORMAT_VERSION, 4);
  object.writeUInt8(codec, 5);
  object.writeUInt8(ENCRYPTION_NONE, 6);
  object.writeUInt8(0, 7);
  object.writeUInt32LE(raw.length, 8);
  object.writeUInt32LE(payload.length, 12);
  object.set(payload, HEADER_BYTES);
  return { id: blockIdOf(sha256(raw)), rawLength: raw.length, object };
}

/**
 * The raw bytes of a stored block, which hash to `id`; where they were stored as they are, a view into `object`, else in new
 * memory, or in `scratch`, of BLOCK_MAX_BYTES. Throws `CairnError('corrupt')`. Nothing is unpacked, and no memory taken, before
 * every bound of FORMAT.md B-4 holds.
 */
export function decodeBlock(id: BlockId, object: Uint8Array, scratch?: Buffer): Buffer {
  const bytes = Buffer.from(object.buffer, object.byteOffset, object.byteLength);
  if (bytes.length < HEADER_BYTES) throw corruptBlock(id, `${String(bytes.length)} bytes hold no header`);
  if (bytes.readUInt32LE(0) !== MAGIC) throw corruptBlock(id, 'wrong magic');
  const version = bytes.readUInt8(4);
  if (version !== FORMAT_VERSION) throw corruptBlock(id, `unknown format version ${String(version)}`);
  const codec = bytes.readUInt8(5);
  if (codec !== CODEC_NONE && codec !== CODEC_ZSTD) throw corruptBlock(id, `unknown codec ${String(codec)}`);
  if (bytes.readUInt8(6) !== ENCRYPTION_NONE) throw corruptBlock(id, 'unknown encryption');
  if (bytes.readUInt8(7) !== 0) throw corruptBlock(id, 'reserved byte is not 0');
  const rawLength = bytes.readUInt32LE(8);
  if (rawLength === 0 || rawLength > BLOCK_MAX_BYTES) {
    throw corruptBlock(id, `raw length ${String(rawLength)} is out of bounds`);
  }
  const payload = bytes.subarray(HEADER_BYTES);
  if (bytes.readUInt32LE(12) !== payload.length)
    throw corruptBlock(id, 'payload length is not that of the object');
  if (codec === CODEC_NONE ? payload.length !== rawLength : payload.length >= rawLength) {
    throw corruptBlock(id, 'payload length does not fit the raw length');
  }

  const raw = codec === CODEC_NONE ? payload : unpack(id, payload, rawLength, scratch);
  if (!sha256(raw).equals(bytesOfId(id))) throw corruptBlock(id, 'the bytes hash to another id');
  return raw;
}

/** zstd writes into a buffer of the raw length and no further, whatever size the frame itself claims. */
function unpack(id: BlockId, payload: Buffer, rawLength: number, scratch: Buffer | undefined): Buffer {
  decompressor ??= new binding.DCtx();
  const raw = scratch?.subarray(0, rawLength) ?? Buffer.allocUnsafeSlow(rawLength);
  let unpackedLength: number;
  try {
    unpackedLength = decompressor.decompress(raw, payload);
  } catch (error) {
    throw corruptBlock(id, `zstd: ${messageOf(error)}`);
  }
  if (unpackedLength !== rawLength) throw corruptBlock(id, 'the payload is shorter than the raw length');
  return raw;
}

function corruptBlock(id: BlockId, reason: string): CairnError {
  return new CairnError('corrupt', `block ${id} does not verify: ${reason}`);
}
