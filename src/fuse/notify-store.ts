import { Errno, type Ino } from '../core/index.js';
import { mapMemory, pageBytes, protectMemory, writeMemory, type MappedMemory } from '../posix/index.js';
import { NOTIFY_STORE, NOTIFY_STORE_OUT_BYTES, OUT_HEADER_BYTES } from './protocol.js';

const TWO_TO_32 = 0x1_0000_0000;
const HEADERS_BYTES = OUT_HEADER_BYTES + NOTIFY_STORE_OUT_BYTES;

/** Files above this are not pushed: a READ of 128 KiB costs little more than the push, and the file may not be wanted whole. */
export const PUSHED_FILE_MAX_BYTES = 128 * 1024;

/**
 * Where the feeder puts a file's bytes together, and out of which it pushes them: FUSE_NOTIFY_STORE (fs/fuse/dev.c, fuse_notify_store).
 *
 * The kernel takes the lock of each page of the file, then looks up the page of this buffer it copies from, then copies. So whoever makes the
 * buffer unreadable while the push waits for a lock keeps it from copying: it ends with EFAULT. This holds only if a page of the buffer is
 * never shared by two pages of the file, nor by a page and the headers, which are looked up at the start: the headers end where the first page
 * ends.
 */
export class StoreBuffer {
  readonly #memory: MappedMemory;
  readonly #headersAt: number;
  readonly #view: DataView;
  /** The file's bytes, from its beginning. */
  readonly data: Buffer;

  constructor() {
    const page = pageBytes();
    this.#memory = mapMemory(page + dataBytes());
    const { bytes } = this.#memory;
    this.#headersAt = page - HEADERS_BYTES;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset + this.#headersAt, HEADERS_BYTES);
    this.data = bytes.subarray(page);
  }

  get address(): number {
    return this.#memory.address;
  }

  /**
   * Pushes the first `length` bytes of `data`, which are all of the inode's. Waits while another request has one of its pages locked.
   * 0, or the errno: ENOENT when the kernel does not know the inode, EFAULT when the buffer was made unreadable.
   */
  store(fd: number, ino: Ino, length: number): number {
    const view = this.#view;
    view.setUint32(0, HEADERS_BYTES + length, true);
    view.setInt32(4, NOTIFY_STORE, true);
    view.setUint32(OUT_HEADER_BYTES, ino % TWO_TO_32, true);
    view.setUint32(OUT_HEADER_BYTES + 4, Math.floor(ino / TWO_TO_32), true);
    view.setUint32(OUT_HEADER_BYTES + 16, length, true);
    const result = writeMemory(fd, this.#memory.address + this.#headersAt, HEADERS_BYTES + length);
    return result < 0 ? -result : 0;
  }

  makeReadable(): void {
    protectMemory(this.#memory.address + pageBytes(), dataBytes(), 'writable');
  }
}

/** Makes the data of the buffer at `address` unreadable; from any thread. */
export function makeUnreadable(address: number): void {
  protectMemory(address + pageBytes(), dataBytes(), 'unreadable');
}

/** What `StoreBuffer.store` may answer although all is well: nobody knows the inode, the push was revoked, or the mount is gone. */
export function isExpectedOfStore(errno: number): boolean {
  return errno === Errno.ENOENT || errno === Errno.EFAULT || errno === Errno.EINTR || errno === Errno.ENODEV;
}

/** Whole pages. */
function dataBytes(): number {
  const page = pageBytes();
  return Math.ceil(PUSHED_FILE_MAX_BYTES / page) * page;
}
