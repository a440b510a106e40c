import fs from 'node:fs';
import path from 'node:path';
import { CairnError, homeLayout, systemCode } from '../core/index.js';
import type { BaseVersion } from '../upper/index.js';
import type { MountRequest } from './mount-control.js';

/** `request.json`: written and read by one release, so its shape needs no more than this number. */
const REQUEST_FORMAT = 1;

/**
 * The folder of one workspace at one mountpoint: `request.json` (what was asked for), the upper layers, the control socket. It stays
 * after an unmount when there are edits in it, and is found again by the same workspace mounted at the same place.
 */
export class MountFolder {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  /** All there are, mounted or not. */
  static list(home: string): MountFolder[] {
    try {
      return fs
        .readdirSync(homeLayout.mounts(home))
        .map((name) => new MountFolder(path.join(homeLayout.mounts(home), name)));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  /** Outside of the folder: what went wrong is read when the mount is gone. */
  get logPath(): string {
    return path.join(homeLayout.log(path.dirname(path.dirname(this.dir))), `${path.basename(this.dir)}.log`);
  }

  get socketPath(): string {
    return path.join(this.dir, 'control.sock');
  }

  create(request: MountRequest): void {
    fs.mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    fs.mkdirSync(path.dirname(this.logPath), { recursive: true, mode: 0o700 });
    const temporary = path.join(this.dir, 'request.json.new');
    // `flush`: without it a power loss may leave an empty file of this name.
    const flags = { mode: 0o600, flush: true };
    fs.writeFileSync(temporary, JSON.stringify({ format: REQUEST_FORMAT, ...request }), flags);
    fs.renameSync(temporary, path.join(this.dir, 'request.json'));
    // An fsync on the mount counts on the names that lead to the layers.
    const mounts = path.dirname(this.dir);
    for (const folder of [this.dir, mounts, path.dirname(mounts)]) syncFolder(folder);
  }

  /** Undefined for a folder that was never finished. */
  request(): MountRequest | undefined {
    let text: string;
    try {
      text = fs.readFileSync(path.join(this.dir, 'request.json'), 'utf8');
    } catch (error) {
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
      throw error;
    }
    try {
      const { format, seq, ...rest } = JSON.parse(text) as MountRequest & { format: number };
      if (format !== REQUEST_FORMAT) throw new Error(`format ${String(format)}`);
      return { ...rest, seq };
    } catch (error) {
      throw new CairnError('corrupt', `${this.dir}/request.json is not what a mount writes there`, {
        cause: error,
      });
    }
  }

  /** What a read-only mount stands on, for the daemon that takes over: the head may have moved since. */
  writeBase(base: BaseVersion): void {
    fs.writeFileSync(path.join(this.dir, 'base.json'), JSON.stringify(base), { mode: 0o600 });
  }

  /** Undefined while nothing was mounted read-only here. */
  base(): BaseVersion | undefined {
    try {
      return JSON.parse(fs.readFileSync(path.join(this.dir, 'base.json'), 'utf8')) as BaseVersion;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Nothing in it is needed any more. */
  remove(): void {
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

function syncFolder(folder: string): void {
  const fd = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
