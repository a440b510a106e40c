/**
 * Power loss, as often as is asked for: a workload on a mount whose home folder is on a disk that is recorded; then the disk as it may have been at
 * many points of the recording, recovered and looked at.
 */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { homeLayout } from '../../src/core/index.js';
import { randomNumbers } from '../fixtures/random-numbers.js';
import { runDone, scriptPath, type Home, type Site } from '../mount/site.js';
import { DiskHistory, withDisk } from './crash-points.js';
import { readDiskLog, type DiskEvent } from './disk-log.js';
import { Expectation, type FoundTree } from './expectation.js';
import { DATABASES, importedFiles, MOUNTPOINT, rowBytes, WORKSPACE, type Note } from './notes.js';
import { RecordedDisk } from './recorded-disk.js';
import { RecoveredHome } from './recovered-home.js';

const DISK_BYTES = 160 * 1024 * 1024;
const WORKLOAD_LIMIT_S = 900;
const COPY_LIMIT_S = 60;

export interface PowerLossOptions {
  seed: number;
  /** Of the workload: some dozen calls each. */
  steps: number;
  /** Power losses, beside those at which it is really mounted. */
  points: number;
  /** At so many points `cairn mount` is called, and a snapshot made. */
  mounts: number;
  /** Whether the object store is on the same disk. */
  storeInside: boolean;
}

export interface PowerLossResult {
  events: number;
  flushes: number;
  points: number;
  mounts: number;
  /** Writes that may have been lost, over all points. */
  unflushed: number;
  /** Trees, versions and databases that were looked at and are as promised. */
  trees: number;
  versions: number;
  databases: number;
  problems: string[];
}

/** The machine that loses its power: a home folder on the recorded disk, a mountpoint beside it. */
interface Machine {
  site: Site;
  home: Home;
  folder: string;
  environment: Record<string, string>;
  mountpoint: string;
  storeUrl: string;
}

export async function losePower(site: Site, options: PowerLossOptions): Promise<PowerLossResult> {
  const machine = machineOf(site, options.storeInside);
  const log = await record(machine, options);
  return await new Replay(machine, log, options).run();
}

function machineOf(site: Site, storeInside: boolean): Machine {
  const folder = path.join(site.base, 'machine');
  const homeDir = path.join(folder, 'home');
  const storeUrl = `file://${storeInside ? homeLayout.store(homeDir) : path.join(site.base, 'store')}`;
  const environment = {
    CAIRN_STORE: storeUrl,
    CAIRN_CATALOG: `sqlite://${homeLayout.catalog(homeDir)}`,
    CAIRN_CACHE_SIZE: '2MiB',
    CAIRN_EMBED_BELOW: '2KiB',
  };
  return {
    site,
    home: site.home('machine/home'),
    folder,
    environment,
    mountpoint: site.folder(MOUNTPOINT),
    storeUrl,
  };
}

/** Runs the workload. Returns the path of the disk's log. */
async function record(machine: Machine, { seed, steps }: PowerLossOptions): Promise<string> {
  const { site, home, environment, mountpoint } = machine;
  const disk = await RecordedDisk.start(site, DISK_BYTES);
  const tree = site.folder('tree');
  for (const [name, bytes] of importedFiles()) writeFileSync(path.join(tree, name), bytes);
  for (const args of [
    ['import', tree, '--workspace', WORKSPACE],
    ['mount', WORKSPACE, mountpoint],
  ]) {
    await home.json(args, { env: environment });
  }
  const args = [
    mountpoint,
    disk.notes,
    home.dir,
    path.join(site.base, 'other-tree'),
    String(seed),
    String(steps),
  ];
  await runDone([process.execPath, scriptPath('../power/workload.js'), ...args], {
    env: { ...home.environment(), ...environment },
    limit_s: WORKLOAD_LIMIT_S,
  });
  await home.json(['unmount', mountpoint], { env: environment });
  await disk.stop();
  return disk.logPath;
}

class Replay {
  readonly #machine: Machine;
  readonly #log: string;
  readonly #options: PowerLossOptions;
  readonly #random: ReturnType<typeof randomNumbers>;
  readonly #expectation = new Expectation();
  readonly #images = mkdtempSync(path.join(roomyFolder(), 'cairn-power-'));
  readonly #result: PowerLossResult;

  constructor(machine: Machine, log: string, options: PowerLossOptions) {
    this.#machine = machine;
    this.#log = log;
    this.#options = options;
    this.#random = randomNumbers(options.seed);
    const counters = {
      events: 0,
      flushes: 0,
      points: 0,
      mounts: 0,
      unflushed: 0,
      trees: 0,
      versions: 0,
      databases: 0,
    };
    this.#result = { ...counters, problems: [] };
  }

  async run(): Promise<PowerLossResult> {
    const kinds: DiskEvent['kind'][] = [];
    for (const { kind } of readDiskLog(this.#log)) kinds.push(kind);
    this.#result.events = kinds.length;
    this.#result.flushes = kinds.filter((kind) => kind === 'flush').length;
    const { lookedAt, mounted } = this.#choosePoints(kinds);
    const history = new DiskHistory(path.join(this.#images, 'history.img'), DISK_BYTES);
    let index = 0;
    try {
      for (const event of readDiskLog(this.#log)) {
        history.add(event);
        if (event.kind === 'note') this.#expectation.note(JSON.parse(event.text) as Note);
        if (lookedAt.has(index)) await this.#loss(history, index, false);
        if (mounted.has(index)) await this.#loss(history, index, true);
        index += 1;
      }
    } finally {
      history.close();
      rmSync(this.#images, { recursive: true });
    }
    return this.#result;
  }

  /** One half just before a flush, where most may be lost; the other anywhere. */
  #choosePoints(kinds: readonly DiskEvent['kind'][]): { lookedAt: Set<number>; mounted: Set<number> } {
    const first = kinds.indexOf('note');
    const flushes = [...kinds.keys()].filter((index) => index >= first && kinds[index + 1] === 'flush');
    const choose = (count: number): Set<number> => {
      const chosen = new Set<number>();
      const all = kinds.length - first;
      while (chosen.size < Math.min(count, Math.floor(all / 2))) {
        const flush = flushes[this.#random(flushes.length)];
        chosen.add(chosen.size % 2 === 0 && flush !== undefined ? flush : first + this.#random(all));
      }
      return chosen;
    };
    return { lookedAt: choose(this.#options.points), mounted: choose(this.#options.mounts) };
  }

  async #loss(history: DiskHistory, index: number, mounting: boolean): Promise<void> {
    // A name of its own: a loop device that is still ending may hold, and show, the one before.
    const image = path.join(this.#images, `lost-${String(index)}.img`);
    this.#result.unflushed += await history.loss(image, this.#random);
    this.#result[mounting ? 'mounts' : 'points'] += 1;
    const fail = (problem: string): void => {
      this.#result.problems.push(`event ${String(index)}${mounting ? ', mounted' : ''}: ${problem}`);
    };
    try {
      await withDisk(image, this.#machine.folder, async () => {
        if (mounting) await this.#mount(fail);
        else await this.#look(fail);
      });
    } catch (error) {
      fail(String(error));
    } finally {
      rmSync(image);
    }
  }

  async #look(fail: (problem: string) => void): Promise<void> {
    const { home, storeUrl } = this.#machine;
    const recovered = await RecoveredHome.open(home.dir, storeUrl);
    try {
      await recovered.look((tree) => {
        this.#checkTree(tree, fail);
      });
      await this.#checkVersions(recovered, fail);
    } finally {
      await recovered.close();
    }
  }

  /** As after a reboot: mounted, looked at, a version made of what is there. */
  async #mount(fail: (problem: string) => void): Promise<void> {
    const { site, home, environment: env, mountpoint, storeUrl } = this.#machine;
    await home.json(['mount'], { env });
    await home.json(['mount', WORKSPACE, mountpoint], { env });
    const copy = mkdtempSync(path.join(site.base, 'copy-'));
    try {
      await runDone(['cp', '-r', '--sparse=never', `${mountpoint}/.`, copy], { limit_s: COPY_LIMIT_S });
      const tree = treeOnDisk(copy);
      this.#checkTree(tree, fail);
      const { seq } = (await home.json(['snapshot', mountpoint], { env })) as { seq: number };
      await home.json(['unmount', mountpoint], { env });
      const recovered = await RecoveredHome.open(home.dir, storeUrl);
      try {
        await this.#checkVersions(recovered, fail);
        const files = await recovered.versionFiles(await recovered.catalog.version(WORKSPACE, seq));
        for (const [name, bytes] of tree) {
          if (bytes !== undefined && files.get(name)?.equals(bytes) !== true)
            fail(`${name} is another in the new version`);
        }
      } finally {
        await recovered.close();
      }
    } finally {
      rmSync(copy, { recursive: true });
    }
  }

  #checkTree(tree: FoundTree, fail: (problem: string) => void): void {
    const problem = this.#expectation.problemOf(tree);
    if (problem !== undefined) fail(problem);
    this.#result.trees += 1;
    for (const [name, rows] of this.#expectation.rows) {
      const wrong = databaseProblem(this.#machine.site, tree, name, rows);
      if (wrong !== undefined) fail(`database ${name}: ${wrong}`);
      this.#result.databases += 1;
    }
  }

  /** All versions that were reported are there. The newest that the catalog has, and another, are whole, and what was reported. */
  async #checkVersions(recovered: RecoveredHome, fail: (problem: string) => void): Promise<void> {
    const present = await recovered.versions();
    const newest = present.filter(({ workspace }) => workspace === WORKSPACE)[0];
    const other = present[this.#random(present.length)];
    for (const version of new Set([newest, other])) {
      if (version === undefined) continue;
      const name = `${version.workspace}@${String(version.seq)}`;
      const files = await recovered.versionFiles(version);
      const promised = this.#expectation.versions.find(
        ({ workspace, seq }) => workspace === version.workspace && seq === version.seq,
      );
      for (const [file, bytes] of promised?.files ?? []) {
        if (files.get(file)?.equals(bytes) !== true) fail(`${file} is another in ${name}`);
      }
      this.#result.versions += 1;
    }
    for (const { workspace, seq } of this.#expectation.versions) {
      if (!present.some((version) => version.workspace === workspace && version.seq === seq))
        fail(`${workspace}@${String(seq)} is gone`);
    }
  }
}

/** For disks that are synced all the time: in memory, where there is room. */
function roomyFolder(): string {
  const memory = '/dev/shm';
  if (!existsSync(memory)) return tmpdir();
  const { bavail, bsize } = statfsSync(memory);
  return bavail * bsize > 8 * DISK_BYTES ? memory : tmpdir();
}

function treeOnDisk(folder: string): FoundTree {
  const tree = new Map<string, Buffer | undefined>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    tree.set(path.relative(folder, file), entry.isDirectory() ? undefined : readFileSync(file));
  }
  return tree;
}

/** What is wrong with a database in a tree that must have so many rows at least; undefined when it has them. */
function databaseProblem(site: Site, tree: FoundTree, name: string, rows: number): string | undefined {
  const folder = mkdtempSync(path.join(site.base, 'database-'));
  try {
    for (const suffix of ['', '-wal', '-journal']) {
      const bytes = tree.get(`${DATABASES}/${name}${suffix}`);
      if (bytes !== undefined) writeFileSync(path.join(folder, `${name}${suffix}`), bytes);
    }
    const database = new Database(path.join(folder, name), { fileMustExist: true });
    try {
      const integrity = database.pragma('integrity_check', { simple: true });
      if (integrity !== 'ok') return String(integrity);
      const found = database
        .prepare<[], { id: number; bytes: Buffer }>('SELECT id, bytes FROM entry ORDER BY id')
        .all();
      if (found.length < rows) return `${String(found.length)} rows of ${String(rows)} that were committed`;
      const wrong = found.find(({ id, bytes }, index) => id !== index + 1 || !bytes.equals(rowBytes(id)));
      return wrong === undefined ? undefined : `row ${String(wrong.id)} is not what was committed`;
    } finally {
      database.close();
    }
  } catch (error) {
    return String(error);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
