import { PACK_TARGET_BYTES, PACKED_FILE_MAX_BYTES } from '../core/index.js';

/**
 * Lays small files side by side until they are a block's worth (FORMAT.md C-6):
 *
 *     const blockOffset = pack.append(bytes);
 *     if (pack.full) store(pack.take());
 *
 * and `take` once more at the end, unless `length` is 0. Knows nothing of the files, only of their bytes.
 */
export class PackWriter {
  #buffer: Buffer | undefined;
  #length = 0;

  /** Bytes in the current pack. */
  get length(): number {
    return this.#length;
  }

  /** The current pack has reached its size: `take` it before the next `append`. */
  get full(): boolean {
    return this.#length >= PACK_TARGET_BYTES;
  }

  /** Copies 1 to PACKED_FILE_MAX_BYTES bytes into the current pack; returns their offset in it. */
  append(bytes: Uint8Array): number {
    if (bytes.length === 0 || bytes.length > PACKED_FILE_MAX_BYTES) {
      throw new Error(
        `a packed file has 1 to ${String(PACKED_FILE_MAX_BYTES)} bytes, not ${String(bytes.length)}`,
      );
    }
    if (this.full) throw new Error('the pack is full');
    this.#buffer ??= Buffer.allocUnsafeSlow(PACK_TARGET_BYTES + PACKED_FILE_MAX_BYTES);
    const offset = this.#length;
    this.#buffer.set(bytes, offset);
    this.#length += bytes.length;
    return offset;
  }

  /** The current pack's bytes, which are the caller's from now on; the next `append` begins another. */
  take(): Buffer {
    if (this.#buffer === undefined) throw new Error('the pack is empty');
    const pack = this.#buffer.subarray(0, this.#length);
    this.#buffer = undefined;
    this.#length = 0;
    return pack;
  }
}
