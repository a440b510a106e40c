import { writeFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { CairnError } from '../../src/core/index.js';
import { connectMount, type MountControl } from '../../src/daemon/index.js';
import type { Event, Operation, Step } from './differential-operations.js';
import type { Answer, Side } from './differential-side.js';
import { kill, runDone, until, type Home } from './site.js';

/** As `walk` tells it: a line for each entry. */
export type Tree = unknown;

export interface ComparisonOptions {
  home: Home;
  plain: Side;
  side: Side;
  workspace: string;
  mountpoint: string;
  plainDir: string;
  /** In which the sequence's tree is, on both sides. */
  folder: string;
  /** A folder for what is restored. */
  restoreTo: string;
  count: (what: string) => void;
}

/** What a version has to be. */
interface Sealed {
  seq: number;
  tree: Tree;
  /** False when the snapshot found nothing new: directories that are of now alone make no version. */
  created: boolean;
}

/** In the slots, so that operations on open files have some. */
const OPEN_AT_FIRST = ['large', 'small', 'sparse', 'd'];

/** The mount does something else than the plain directory. */
export class Difference extends Error {}

/** One sequence, on both sides. They go on by themselves and are waited for, and compared, where something happens to the mount. */
export class Comparison {
  readonly #options: ComparisonOptions;
  #waiting: { operation: Operation; answers: Promise<[Answer, Answer]> }[] = [];
  #publishing: Promise<void> = Promise.resolve();
  readonly #versions: Sealed[] = [];
  #killed = 0;
  #doomed: { pid: number; after: number } | undefined;

  constructor(options: ComparisonOptions) {
    this.#options = options;
  }

  /** The tree it left, which is the same on both sides. Throws with what differs. */
  async run(steps: readonly Step[]): Promise<Tree> {
    const { plain, side, mountpoint, folder } = this.#options;
    await this.#enter();
    for (const step of steps) {
      if (isEvent(step)) await this.#happen(step);
      else this.#do(step);
    }
    await this.#settle();
    const tree = await this.#plainTree();
    sameTree('the tree', await side.result({ op: 'walk', path: `${mountpoint}/${folder}` }), tree);
    for (const version of this.#versions) await this.#checkVersion(version);
    for (const one of [plain, side]) await one.result({ op: 'close_all' });
    return tree;
  }

  /** After a difference: what was begun comes to an end. Throws when it does not. */
  async abandon(): Promise<void> {
    const { plain, side } = this.#options;
    for (const one of [plain, side]) await one.result({ op: 'close_all' });
    this.#waiting = [];
    await this.#settle();
  }

  async #enter(): Promise<void> {
    const { plain, side, plainDir, mountpoint, folder } = this.#options;
    await plain.result({ op: 'enter', path: `${plainDir}/${folder}/tree` });
    await side.result({ op: 'enter', path: `${mountpoint}/${folder}/tree` });
    for (const [slot, path] of OPEN_AT_FIRST.entries()) {
      this.#do({ op: 'open', slot, path, flags: [path === 'd' ? 'RDONLY' : 'RDWR'], mode: 0 });
    }
  }

  #do(operation: Operation): void {
    const { plain, side } = this.#options;
    const done = side.do(operation);
    const answers = Promise.all([plain.do(operation), done]);
    // It is looked at when its turn comes.
    answers.catch(() => undefined);
    this.#waiting.push({ operation, answers });
    const doomed = this.#doomed;
    if (doomed === undefined || --doomed.after > 0) return;
    this.#doomed = undefined;
    done.then(
      () => {
        this.#kill(doomed.pid);
      },
      () => undefined,
    );
  }

  /** All operations are done on both sides, and came to the same. */
  async #compareAnswers(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { operation, answers } of waiting) {
      const [wanted, found] = await answers;
      const [wantedText, foundText] = [JSON.stringify(wanted), JSON.stringify(found)];
      if (wantedText !== foundText || wanted.wrong !== undefined) {
        throw new Difference(`${JSON.stringify(operation)}:\n  mount ${foundText}\n  plain ${wantedText}`);
      }
      this.#options.count(`${operation.op} ${wanted.errno ?? 'done'}`);
    }
  }

  /** Nothing is under way any more. */
  async #settle(): Promise<void> {
    await this.#compareAnswers();
    await this.#publishing;
    this.#publishing = Promise.resolve();
    if (this.#doomed !== undefined) this.#kill(this.#doomed.pid);
    this.#doomed = undefined;
  }

  async #happen(event: Event): Promise<void> {
    this.#options.count(event.event === 'snapshot' ? `snapshot, ${event.during}` : event.event);
    switch (event.event) {
      case 'snapshot':
        await this.#settle();
        await this.#snapshot(event.during);
        break;
      case 'remount':
        await this.#settle();
        await this.#remount();
        break;
      case 'kill': {
        // A version is compared with one seal: what dies while it publishes is for the snapshots that are killed.
        await this.#settle();
        const { daemon } = await (await this.#control()).stats();
        if (event.after === 0) this.#kill(daemon.pid);
        else this.#doomed = { pid: daemon.pid, after: event.after };
        break;
      }
      case 'drop caches':
        writeFileSync('/proc/sys/vm/drop_caches', '3');
        break;
    }
  }

  async #snapshot(
    during: 'nothing' | 'operations' | 'kill at sealing' | 'kill at publishing',
  ): Promise<void> {
    const control = await this.#control();
    const tree = await this.#plainTree();
    const { daemon } = await control.stats();
    const before = await control.status(0);
    let isSealed: () => void = () => undefined;
    const sealed = new Promise<void>((resolve) => {
      isSealed = resolve;
    });
    const snapshot = control.snapshot({ message: '', author: 'test', rebase: false }, (step) => {
      if (during === `kill at ${step}`) this.#kill(daemon.pid);
      if (step === 'publishing') isSealed();
    });
    const published = snapshot.then(({ seq, created }) => {
      this.#versions.push({ seq, tree, created });
    });
    if (during === 'nothing') {
      await published;
    } else if (during === 'operations') {
      published.catch(() => undefined);
      this.#publishing = published;
      await Promise.race([sealed, published]);
    } else {
      await published.catch(async (error: unknown) => {
        if (!isUnreachable(error)) throw error;
        const next = await this.#control();
        await until('what was sealed is published', async () => (await next.status(0)).sealedLayers === 0);
        const { seq } = await next.status(0);
        // Before it was sealed it is a change of the mount like any other.
        if (seq !== before.seq) this.#versions.push({ seq, tree, created: true });
      });
    }
  }

  async #remount(): Promise<void> {
    const { home, plain, side, workspace, mountpoint } = this.#options;
    for (const one of [plain, side]) await one.result({ op: 'close_all' });
    await side.result({ op: 'enter', path: '/' });
    await home.unmount(mountpoint);
    await home.mount(workspace, workspace, '--allow-other');
    await this.#enter();
  }

  /** Of a daemon that lives: what is asked of one that was just killed is not answered. */
  async #control(): Promise<MountControl> {
    const control = await connectMount(this.#options.home.dir, [this.#options.mountpoint]);
    await until('the next daemon answers', async () => {
      const stats = await control.stats().catch((error: unknown) => {
        if (isUnreachable(error)) return undefined;
        throw error;
      });
      return stats !== undefined && stats.daemon.pid !== this.#killed;
    });
    return control;
  }

  #kill(pid: number): void {
    this.#killed = pid;
    kill(pid);
  }

  async #plainTree(): Promise<Tree> {
    const { plain, plainDir, folder } = this.#options;
    return await plain.result({ op: 'walk', path: `${plainDir}/${folder}` });
  }

  async #checkVersion({ seq, tree, created }: Sealed): Promise<void> {
    const { home, plain, workspace, folder, restoreTo } = this.#options;
    const restored = `${restoreTo}/${workspace}-${folder}-${String(seq)}`;
    await home.json(['restore', `${workspace}@${String(seq)}:${folder}`, restored]);
    const found = await plain.result({ op: 'walk', path: restored });
    const compared = created ? (one: Tree): Tree => one : withoutDirectoryTimes;
    sameTree(`version ${String(seq)}`, compared(found), compared(tree));
    await runDone(['rm', '-rf', restored]);
  }
}

function isEvent(step: Step): step is Event {
  return 'event' in step;
}

function isUnreachable(error: unknown): boolean {
  return error instanceof CairnError && error.code === 'unreachable';
}

function withoutDirectoryTimes(tree: Tree): Tree {
  return (tree as string[]).map((line) => line.replace(/( 4[0-7]{4} \d+:\d+ nlink \d+) mtime \S+/, '$1'));
}

/** Throws with the lines that differ. */
export function sameTree(what: string, found: Tree, wanted: Tree): void {
  if (isDeepStrictEqual(found, wanted)) return;
  const [foundLines, wantedLines] = [new Set(found as string[]), new Set(wanted as string[])];
  const lines = [
    ...[...foundLines].filter((line) => !wantedLines.has(line)).map((line) => `  mount ${line}`),
    ...[...wantedLines].filter((line) => !foundLines.has(line)).map((line) => `  plain ${line}`),
  ];
  throw new Difference(`${what}:\n${lines.join('\n')}`);
}
