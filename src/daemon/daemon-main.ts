/** The daemon of one mount, as its supervisor starts it. */
import { Worker } from 'node:worker_threads';
import { limitHeapGrowth, SESSION_YOUNG_GENERATION_MB } from './memory-settings.js';

limitHeapGrowth();
// First of all: both threads load their code at the same time, which is most of what starting takes.
const sessionThread = new Worker(new URL('./session-thread.js', import.meta.url), {
  resourceLimits: { maxYoungGenerationSizeMb: SESSION_YOUNG_GENERATION_MB },
});
const { runDaemon } = await import('./run-daemon.js');
await runDaemon(sessionThread);
