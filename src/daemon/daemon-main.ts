/** The daemon of one mount, as its supervisor starts it. */
import { Worker } from 'node:worker_threads';

// First of all: both threads load their code at the same time, which is most of what starting takes.
const sessionThread = new Worker(new URL('./session-thread.js', import.meta.url));
const { runDaemon } = await import('./run-daemon.js');
await runDaemon(sessionThread);
