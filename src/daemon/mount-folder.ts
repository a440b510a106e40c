import fs from 'node:fs';
import path from 'node:path';
import {
  CairnError,
  checkedLine,
  homeLayout,
  isOfShape,
  lineOfChecked,
  systemCode,
  type JsonShape,
} from '../core/index.js';
import type { MountRequest } from './mount-control.js';

/** The name of its control socket in a mount's folder. */
export const CONTROL_SOCKET = 'control.sock';

const REQUEST_FORMAT = 2;

const REQUEST_SHAPE: JsonShape = {
  format: 'count',
  home: 'text',
  store: 'text',
  catalog: 'text',
  embedBelowBytes: 'count',
  workspace: 'text',
  seq: 'count, or left out',
  mountpoint: 'text',
  readOnly: 'flag',
  follow: 'flag, or left out',
  allowOther: 'flag',
  cacheBudgetBytes: 'count',
  logLevel: 'text',
  foreground: 'flag',
};

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
    return this.#beside('log');
  }

  /** There while a command starts a mount here. */
  get launchPath(): string {
    return this.#beside('launch');
  }

  get socketPath(): string {
    return path.join(this.dir, CONTROL_SOCKET);
  }

  create(request: MountRequest): void {
    fs.mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    fs.mkdirSync(path.dirname(this.logPath), { recursive: true, mode: 0o700 });
    this.writeJson('request.json', { format: REQUEST_FORMAT, ...request });
    // An fsync on the mount counts on the names that lead to the layers.
    const mounts = path.dirname(this.dir);
    for (const folder of [this.dir, mounts, path.dirname(mounts)]) syncFolder(folder);
  }

  /** Undefined for a folder that was never finished. */
  request(): MountRequest | undefined {
    const read = this.readJson('request.json', REQUEST_SHAPE) as
      (Omit<MountRequest, 'follow'> & { format: number; follow?: boolean }) | undefined;
    if (read === undefined) return undefined;
    const { format, ...request } = read;
    if (format !== REQUEST_FORMAT) {
      throw new CairnError(
        'unsupported',
        `${this.dir}/request.json is of another release (format ${String(format)})`,
      );
    }
    // An earlier release knew no `follow`.
    return { ...request, follow: request.follow ?? false };
  }

  /** Nothing in it is needed any more. */
  remove(): void {
    fs.rmSync(this.dir, { recursive: true, force: true });
  }

  /** Replaces a file of the folder, in one step. */
  writeJson(name: string, value: object): void {
    const temporary = path.join(this.dir, `${name}.new`);
    // `flush`: without it a power loss may leave an empty file of this name.
    const flags = { mode: 0o600, flush: true };
    fs.writeFileSync(temporary, checkedLine(JSON.stringify(value)), flags);
    fs.renameSync(temporary, path.join(this.dir, name));
  }

  /** Undefined when there is no such file. Throws `corrupt`. */
  readJson(name: string, shape: JsonShape): unknown {
    const file = path.join(this.dir, name);
    let text: string;
    try {
      text = fs.readFileSync(file, 'utf8');
    } catch (error) {
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
      throw error;
    }
    try {
      const { line, fits } = lineOfChecked(text);
      const value: unknown = JSON.parse(line);
      if (fits === true && isOfShape(value, shape)) return value;
    } catch {
      // As what is no JSON.
    }
    throw new CairnError('corrupt', `${file} is not what a mount writes there`, {
      hint: 'unmount what is mounted there, then move the file away; edits are in the folders beside it',
    });
  }

  /** A file of the folder that outlives it. */
  #beside(kind: string): string {
    return path.join(
      homeLayout.log(path.dirname(path.dirname(this.dir))),
      `${path.basename(this.dir)}.${kind}`,
    );
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
