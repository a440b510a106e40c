import { writeFileSync } from 'node:fs';
import { Comparison, Difference, sameTree, type Tree } from './differential-comparison.js';
import type { Step } from './differential-operations.js';
import { Side } from './differential-side.js';
import { runDone, type Home, type Site } from './site.js';

/** The trees of so many sequences are imported at once; after those there is another workspace, on another mount. */
const TREES = 100;

/** A mounted workspace, and the trees that sequences left on it. */
interface Mount {
  workspace: string;
  mountpoint: string;
  plainDir: string;
  side: Side;
  used: number;
  left: { folder: string; tree: Tree }[];
}

/**
 * Where the sequences run: a process on a plain directory and one on a mount, which serves many of them. Each has a tree of its own on both
 * sides, planted on the one and imported on the other, alike at first.
 */
export class Stand {
  readonly #site: Site;
  readonly #home: Home;
  readonly #plain: Side;
  readonly #counts = new Map<string, number>();
  #mount: Mount | undefined;
  #mounts = 0;
  #sequences = 0;

  constructor(site: Site) {
    this.#site = site;
    this.#home = site.home();
    this.#plain = new Side('the plain directory', site.base);
  }

  /** A sequence, from its beginning. Throws with what differs. */
  async run(steps: readonly Step[]): Promise<void> {
    const mount = await this.#mountWithTree();
    this.#sequences += 1;
    const folder = folderOf(mount.used++);
    await this.#plain.result({ op: 'enter', path: mount.plainDir });
    await this.#plain.result({ op: 'plant', path: `${folder}/tree` });
    const comparison = new Comparison({
      home: this.#home,
      plain: this.#plain,
      side: mount.side,
      workspace: mount.workspace,
      mountpoint: mount.mountpoint,
      plainDir: mount.plainDir,
      folder,
      restoreTo: this.#site.folder('restored'),
      count: (what) => this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1),
    });
    try {
      mount.left.push({ folder, tree: await comparison.run(steps) });
    } catch (error) {
      await this.#afterFailure(mount, comparison, error);
      throw error;
    }
  }

  /** Call it when all sequences have run. */
  async finish(): Promise<void> {
    if (this.#mount === undefined) return;
    await this.#lookAgain(this.#mount);
    await this.#leave(this.#mount);
  }

  /** How many sequences, and how often each operation came to what. */
  summary(): string {
    const counts = [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
    return [
      `${String(this.#sequences)} sequences`,
      ...counts.map(([what, count]) => `${what} ${String(count)}`),
    ].join(', ');
  }

  async close(): Promise<void> {
    await this.#plain.close();
    if (this.#mount !== undefined) await this.#mount.side.close();
  }

  /** A difference is one of the sequence's tree; of anything else the next sequence must not suffer. */
  async #afterFailure(mount: Mount, comparison: Comparison, error: unknown): Promise<void> {
    try {
      if (!(error instanceof Difference)) throw error;
      await comparison.abandon();
    } catch {
      await this.#leave(mount);
    }
  }

  async #mountWithTree(): Promise<Mount> {
    if (this.#mount !== undefined && this.#mount.used < TREES) return this.#mount;
    await this.finish();
    const trees = `${this.#site.base}/trees`;
    if (this.#mounts === 0) {
      for (let index = 0; index < TREES; index++) {
        await this.#plain.result({ op: 'plant', path: `${trees}/${folderOf(index)}/tree` });
      }
    }
    const workspace = `w${String(++this.#mounts)}`;
    await this.#home.import(trees, workspace);
    const { mountpoint } = await this.#home.mount(workspace, workspace, '--allow-other');
    this.#mount = {
      workspace,
      mountpoint,
      plainDir: this.#site.folder(`plain-${workspace}`),
      side: new Side('the mount', mountpoint),
      used: 0,
      left: [],
    };
    return this.#mount;
  }

  /** What later sequences on the same mount may have done to what earlier ones left: on the disk, and in a version on another machine. */
  async #lookAgain({ workspace, mountpoint, side, left }: Mount): Promise<void> {
    await side.result({ op: 'enter', path: '/' });
    // Of edits that are nothing but directories of now there is no version.
    writeFileSync(`${mountpoint}/last`, '');
    await this.#home.unmount(mountpoint);
    await this.#home.mount(workspace, workspace, '--allow-other');
    await this.#sameAsLeft(mountpoint, left, side);
    await this.#home.snapshot(mountpoint);
    const reader = this.#site.home('reader');
    const version = await reader.mount(workspace, `version-${workspace}`, '--read-only');
    await this.#sameAsLeft(version.mountpoint, left, side);
    await reader.unmount(version.mountpoint);
  }

  async #sameAsLeft(dir: string, left: Mount['left'], side: Side): Promise<void> {
    for (const { folder, tree } of left) {
      const found = await side.result({ op: 'walk', path: `${dir}/${folder}` });
      sameTree(`what a sequence left in ${folder}, at ${dir}`, found, tree);
    }
  }

  async #leave({ mountpoint, plainDir, side }: Mount): Promise<void> {
    this.#mount = undefined;
    await side.close();
    // One that is wedged is freed at the end of the test.
    await this.#home.cairn(['unmount', mountpoint]);
    await runDone(['rm', '-rf', plainDir]);
  }
}

/** A sequence's folder has room for what it does just outside of its tree, through a symlink. */
function folderOf(index: number): string {
  return `s${String(index).padStart(4, '0')}`;
}
