/** A place for programs to work: a writable mount of an imported version and, for comparison, the same tree on the local disk. */
import type { Test } from 'tap';
import { run, runDone, Site, type Home, type RunLimits } from './site.js';

export interface Workplace {
  site: Site;
  home: Home;
  /** Writable, of version 1 of the workspace `work`. */
  mountpoint: string;
  /** What was imported, on the local disk. */
  plain: string;
}

export interface WorkplaceOptions {
  /** Builds in `tree` what is imported. */
  build?: (tree: string) => Promise<void>;
  flags?: readonly string[];
}

/** All of it is gone when the test ends. */
export async function startWorkplace(t: Test, options: WorkplaceOptions = {}): Promise<Workplace> {
  const site = await Site.start(t);
  const home = site.home();
  const plain = site.folder('plain');
  await options.build?.(plain);
  await home.import(plain, 'work');
  const { mountpoint } = await home.mount('work', 'mnt', ...(options.flags ?? []));
  return { site, home, mountpoint, plain };
}

/** What is on the mount becomes a version, which another machine mounts read-only. Returns where. */
export async function snapshotElsewhere({ site, home, mountpoint }: Workplace): Promise<string> {
  const { seq } = await home.snapshot(mountpoint);
  const version = await site.home('elsewhere').mount(`work@${String(seq)}`, 'version', '--read-only');
  return version.mountpoint;
}

/** Runs the same command on the mount and on the local disk, where it must succeed, and returns what it prints on each. */
export async function onBoth(
  { mountpoint, plain }: Workplace,
  command: (folder: string) => readonly string[],
  limits: RunLimits = {},
): Promise<{ mounted: string; local: string }> {
  return {
    mounted: await runDone(command(mountpoint), limits),
    local: await runDone(command(plain), limits),
  };
}

/** Why a test that needs these programs is skipped, or false. */
export async function without(...programs: string[]): Promise<string | false> {
  for (const program of programs) {
    if ((await run(['sh', '-c', 'command -v "$1"', 'sh', program])).code !== 0) return `no ${program}`;
  }
  return false;
}
