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

/** Before the first thread is started. */
export function limitHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${String(HEAP_GROWING_PERCENT)}`);
}
