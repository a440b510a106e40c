import fs from 'node:fs';
import path from 'node:path';
import { errnoOf, Errno } from '../core/index.js';
import { fallocate } from '../posix/index.js';

/** Files, because a disk can run out of inodes too. */
const FILES = 16;
const FILE_BYTES = 512 * 1024;
/** What a daemon needs to start. */
const START_FILES = 4;
const RESERVE_BYTES = FILES * FILE_BYTES;

/** Of the disk of a folder, for whoever is not root. */
export function freeBytes(dir: string): number {
  const disk = fs.statfsSync(dir);
  return disk.bavail * disk.bsize;
}

/** Whether the disk of a folder has room for `bytes` in `files` new files. */
export function hasRoomFor(dir: string, bytes: number, files: number): boolean {
  const disk = fs.statfsSync(dir);
  // File systems that make inodes as they need them count none.
  return disk.bavail * disk.bsize >= bytes && (disk.files === 0 || disk.ffree >= files);
}

/**
 * Space that a mount has set aside in its folder, `reserve/<n>`: others may fill the disk to the last byte, and even then it must be possible to
 * remove files, to fold and seal what was answered, and to start the daemon. Given back by the file when that needs it, as what it does not use
 * others may take; set aside again when the disk has room for twice as much. A crash leaves at worst a smaller reserve.
 */
export class Reserve {
  readonly #dir: string;
  #isWhole: boolean;

  /** `mountDir`: the mount's folder. */
  constructor(mountDir: string) {
    this.#dir = path.join(mountDir, 'reserve');
    this.#isWhole = this.#present().length === FILES;
  }

  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** Before the daemon starts: what that needs may be no more than the reserve. */
  static releaseWhereLow(mountDir: string): void {
    const reserve = new Reserve(mountDir);
    for (let given = 0; given < START_FILES; given++)
      if (!hasRoomFor(mountDir, START_FILES * FILE_BYTES, START_FILES)) reserve.release();
  }

  /** Gives a file back. False when none was left. */
  release(): boolean {
    const [file] = this.#present();
    this.#isWhole = false;
    if (file === undefined) return false;
    fs.rmSync(file);
    return true;
  }

  /** Whether it is whole now. Throws nothing that a full disk says. */
  restore(): boolean {
    if (this.#isWhole) return true;
    try {
      fs.mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      if (!hasRoomFor(this.#dir, 2 * RESERVE_BYTES, 2 * FILES)) return false;
      for (let number = 0; number < FILES; number++) setAside(path.join(this.#dir, String(number)));
      this.#isWhole = true;
    } catch (error) {
      if (!isFull(error)) throw error;
    }
    return this.#isWhole;
  }

  #present(): string[] {
    if (!fs.existsSync(this.#dir)) return [];
    return fs
      .readdirSync(this.#dir)
      .map((name) => path.join(this.#dir, name))
      .filter((file) => fs.statSync(file).size === FILE_BYTES);
  }
}

/** Whether an error, of the system or of SQLite, says that a disk or a quota is full. */
export function isFull(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === Errno.ENOSPC || errno === Errno.EDQUOT;
}

function setAside(file: string): void {
  const fd = fs.openSync(file, 'w', 0o600);
  try {
    fallocate(fd, 0, 0, FILE_BYTES);
  } finally {
    fs.closeSync(fd);
  }
}
