import { setFlagsFromString } from 'node:v8';

/**
 * For malloc, from the daemon's start: large buffers are mapped, and unmapped when they go, rather than cut from a heap that keeps them;
 * and there are fewer heaps than threads.
 */
export const MALLOC_VARIABLES = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: String(128 * 1024),
  MALLOC_TRIM_THRESHOLD_: String(128 * 1024),
};

/** Without it a heap may be four times of what lives in it, on the session thread for good: V8 shrinks heaps in idle time, which is none there. */
const HEAP_GROWING_PERCENT = 30;

/** Of what the session thread makes for a request nothing is left after it: without a limit that piles up to 48 MiB before it is collected. */
export const SESSION_YOUNG_GENERATION_MB = 12;

/** For tests. */
const MEMORY_LIMIT_VARIABLE = 'CAIRN_MEMORY_LIMIT_MIB';

/**
 * Of anonymous memory, for a whole daemon: about ten times what one takes at its hardest work. Beyond it something leaks, and a new daemon is better
 * than what the kernel does when the machine has no more. (V8 ends the process by itself when one of its heaps reaches its own limit.)
 */
const MEMORY_LIMIT_MIB = 2048;

/** A daemon that takes more counts as dead. */
export function memoryLimitBytes(): number {
  return Number(process.env[MEMORY_LIMIT_VARIABLE] ?? MEMORY_LIMIT_MIB) * 2 ** 20;
}

/** Before the first thread is started. */
export function limitHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${String(HEAP_GROWING_PERCENT)}`);
}
