/** The daemon of one mount, as its supervisor starts it. */
import { Worker } from 'node:worker_threads';

// First of all: both threads load their code at the same time, which is most of what starting takes.
const sessionThread = new Worker(new URL('./session-thread.js', import.meta.url), {
  // Of what it makes for a request nothing is left after it: without a limit that piles up to 48 MiB before it is collected.
  resourceLimits: { maxYoungGenerationSizeMb: 12 },
});
const { runDaemon } = await import('./run-daemon.js');
await runDaemon(sessionThread);
