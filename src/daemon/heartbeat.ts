/*
 * How a daemon that hangs is told from one that is idle, or works: every beat its main thread looks whether the session thread got on, and if so
 * says so to the supervisor, which counts the beats that are missing. It counts beats rather than time, because a machine that slept, or a
 * container that was frozen, stops both sides.
 */

/** For tests, which cannot wait so long. */
const LIMIT_VARIABLE = 'CAIRN_SILENCE_LIMIT_MS';
const LIMIT_DEFAULT_MS = 60_000;

/** A daemon that misses so many in a row counts as dead. */
export const BEATS_MISSED_MAX = 30;

/** So many more when its main thread is at work each time: it publishes what changed in a tree of millions, and is not to begin again for ever. */
export const BUSY_BEATS_MAX = 10 * BEATS_MISSED_MAX;

export function beatMs(): number {
  return Number(process.env[LIMIT_VARIABLE] ?? LIMIT_DEFAULT_MS) / BEATS_MISSED_MAX;
}

/**
 * Whether a thread in this state (`threadState`) is none to give up: it waits in the kernel for the disk, which goes on no sooner for the next
 * daemon, or a person looks at it in a debugger.
 */
export function isHeld(state: string | undefined): boolean {
  return state === 'D' || state === 't';
}

/** Calls `beat` at every beat, as long as `getsOn` says so; `onSilent` once when it stops to. */
export function startHeartbeat(options: {
  getsOn: () => boolean;
  beat: () => void;
  onSilent: () => void;
}): void {
  let missed = 0;
  setInterval(() => {
    if (options.getsOn()) {
      missed = 0;
      options.beat();
      return;
    }
    missed += 1;
    // The first is missed by a thread that was merely idle, and has been woken.
    if (missed === 2) options.onSilent();
  }, beatMs()).unref();
}
