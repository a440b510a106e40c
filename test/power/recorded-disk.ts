import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { mountFuse } from '../../src/fuse/index.js';
import { run, runDone, until, type Site } from '../mount/site.js';

/** Why no disk can be recorded here, or undefined when one can. */
export async function whyNoRecordedDisk(): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'only root may make a disk';
  for (const program of ['losetup', 'mkfs.ext4']) {
    if ((await run(['sh', '-c', `command -v ${program}`])).code !== 0) return `no ${program}`;
  }
  return (await run(['losetup', '-f'])).code === 0 ? undefined : 'no loop devices here';
}

/**
 * A disk with ext4 on it, mounted at `folder`, of which everything that happens to it is written down: a loop device on the one file of a small FUSE
 * file system, past the page cache, so that the order is the kernel's, and a flush of the device arrives as an fsync.
 */
export class RecordedDisk {
  /** Where the file system is mounted. */
  readonly folder: string;
  /** What is written to this file becomes a note in the log. */
  readonly notes: string;
  readonly logPath: string;
  readonly #recorder: string;
  readonly #process: ChildProcess;

  private constructor(site: Site, recorder: string, process: ChildProcess) {
    this.folder = site.folder('machine');
    this.logPath = path.join(site.base, 'disk.log');
    this.notes = path.join(recorder, 'notes');
    this.#recorder = recorder;
    this.#process = process;
  }

  static async start(site: Site, sizeBytes: number): Promise<RecordedDisk> {
    const recorder = site.folder('recorder');
    const { fd } = await mountFuse({
      mountpoint: recorder,
      fsname: 'disk, of a test',
      subtype: 'cairn',
      readOnly: false,
      allowOther: false,
    });
    const script = fileURLToPath(new URL('recorder-process.js', import.meta.url));
    const args = [script, '3', path.join(site.base, 'disk.log'), String(sizeBytes)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', fd] });
    closeSync(fd);
    const file = `${recorder}/disk`;
    const device = (await runDone(['losetup', '--find', '--show', '--direct-io=on', file])).trim();
    const disk = new RecordedDisk(site, recorder, child);
    await runDone([
      'mkfs.ext4',
      '-q',
      '-b',
      '4096',
      '-J',
      'size=4',
      '-E',
      'nodiscard,lazy_itable_init=0',
      device,
    ]);
    await runDone(['mount', '-o', 'noatime,commit=1', device, disk.folder]);
    // In use until it is unmounted, and then gone, whoever unmounts it.
    await runDone(['losetup', '--detach', device]);
    return disk;
  }

  /** The end of the recording, in good order. */
  async stop(): Promise<void> {
    // A daemon whose mount is gone still closes its files.
    await until('the disk is unmounted', async () => (await run(['umount', this.folder])).code === 0);
    await runDone(['umount', this.#recorder]);
    if (this.#process.exitCode === null) await once(this.#process, 'exit');
  }
}
