import type { BigIntStats } from 'node:fs';
import { rdevOfSource, type InodeAttributes } from '../../core/index.js';

/** What `lstat` says of a file, in the manifest's terms, and what tells it from every other file of the machine. */
export interface FileStat extends Omit<InodeAttributes, 'ino'> {
  /** The file system it is on. */
  device: bigint;
  /** Device and inode number: equal for the names of one file. */
  identity: string;
  /** Bytes that have disk space: fewer than `size` where there are holes. */
  allocatedBytes: number;
}

const NANOSECONDS = 1_000_000_000n;

/**
 * The kernel stamps changes with a clock that ticks every few milliseconds: two changes within a tick leave one ctime. What
 * is read of a file sooner than this after its ctime could change again without a sign of it.
 */
const CTIME_TICK_MS = 20;

export function fileStat(stats: BigIntStats): FileStat {
  const mode = Number(stats.mode);
  const isDirectory = stats.isDirectory();
  const mtimeSec = floorSeconds(stats.mtimeNs);
  const ctimeSec = floorSeconds(stats.ctimeNs);
  const btimeSec = floorSeconds(stats.birthtimeNs);
  return {
    mode,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    size: isDirectory ? 0 : Number(stats.size),
    nlink: Number(stats.nlink),
    rdev: rdevOfSource(mode, stats),
    mtimeSec: Number(mtimeSec),
    mtimeNsec: Number(stats.mtimeNs - mtimeSec * NANOSECONDS),
    ctimeSec: Number(ctimeSec),
    ctimeNsec: Number(stats.ctimeNs - ctimeSec * NANOSECONDS),
    btimeSec: Number(btimeSec),
    btimeNsec: Number(stats.birthtimeNs - btimeSec * NANOSECONDS),
    device: stats.dev,
    identity: `${String(stats.dev)}:${String(stats.ino)}`,
    allocatedBytes: Number(stats.blocks) * 512,
  };
}

/** BigInt division rounds towards zero; before 1970 that is the wrong second. */
function floorSeconds(ns: bigint): bigint {
  const seconds = ns / NANOSECONDS;
  return seconds * NANOSECONDS > ns ? seconds - 1n : seconds;
}

/** What changes whenever a file's bytes do. */
export type ChangeStamp = Pick<InodeAttributes, 'size' | 'mtimeSec' | 'mtimeNsec' | 'ctimeSec' | 'ctimeNsec'>;

export function sameStamp(a: ChangeStamp, b: ChangeStamp): boolean {
  return (
    a.size === b.size &&
    a.mtimeNsec === b.mtimeNsec &&
    a.ctimeNsec === b.ctimeNsec &&
    a.mtimeSec === b.mtimeSec &&
    a.ctimeSec === b.ctimeSec
  );
}

/** How long to wait, in milliseconds, until every further change of the file shows in its ctime; 0 for most files. */
export function untilChangesShowMs(stamp: ChangeStamp): number {
  const ageMs = Date.now() - (stamp.ctimeSec * 1000 + Math.floor(stamp.ctimeNsec / 1e6));
  // A negative age is a clock elsewhere (a network file system), which waiting here says nothing about.
  return ageMs >= 0 && ageMs < CTIME_TICK_MS ? CTIME_TICK_MS - ageMs : 0;
}
