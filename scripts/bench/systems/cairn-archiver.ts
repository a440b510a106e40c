import type { SnapshotResult } from '../../../src/daemon/index.js';
import type { Costs } from '../measure/costs.js';
import { expectCount } from '../measure/scans.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import type { Archiver, ArchiverTask } from './archiver.js';
import { CairnHome } from './cairn-home.js';
import type { CairnMount } from './cairn-mount.js';
import { CAIRN } from './place.js';

const WORKSPACE = 'bench';

/** What a snapshot says of itself: of the daemon, without the start of the command. */
export interface SnapshotReport {
  result: SnapshotResult;
  costs: Costs;
}

/** CairnFS beside its peers. It changes the files in a mount, where a user would. */
export class CairnArchiver implements Archiver {
  readonly system = CAIRN;
  readonly home: CairnHome;
  readonly snapshots: SnapshotReport[] = [];
  readonly #task: ArchiverTask;
  #mount: CairnMount | undefined;

  constructor(task: ArchiverTask) {
    this.#task = task;
    this.home = new CairnHome(task.commands, task.folder);
  }

  async firstVersion(): Promise<TimedOutput> {
    const { tree, counts } = this.#task;
    const output = await this.home.import(tree, WORKSPACE);
    expectCount('cairn: files', output.result.files, counts.files);
    expectCount('cairn: bytes', output.result.bytes, counts.size_bytes);
    return output;
  }

  async unchanged(): Promise<TimedOutput> {
    const output = await this.home.import(this.#task.tree, WORKSPACE);
    if (output.result.created) throw new Error('cairn: an unchanged tree became a version');
    return output;
  }

  async changed(line: string): Promise<TimedOutput> {
    const { commands, files } = this.#task;
    this.#mount ??= (await this.home.mount(WORKSPACE)).mount;
    const { mountpoint } = this.#mount;
    await files.change(commands, mountpoint, line);
    return await this.#snapshot(this.#mount);
  }

  async close(): Promise<void> {
    await this.home.close();
  }

  async #snapshot(mount: CairnMount): Promise<TimedOutput> {
    const { result: output, costs } = await mount.costsOf(() => mount.snapshot());
    const { result } = output;
    const wanted = this.#task.files.count;
    expectCount('cairn: changed files', result.changedFiles, wanted);
    const paths = await this.home.changedPaths(WORKSPACE, result.seq - 1, result.seq);
    expectCount('cairn: changed paths', paths, wanted);
    this.snapshots.push({ result, costs });
    return output;
  }
}
