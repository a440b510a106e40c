import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { GetAllResult, GetAllTask } from './get-all-worker.js';

/** Gets all URLs, `atOnce` at once, in another thread: the server is in this one. */
export async function getAll(task: GetAllTask): Promise<GetAllResult> {
  const worker = new Worker(new URL('./get-all-worker.js', import.meta.url), { workerData: task });
  try {
    const [result] = (await once(worker, 'message')) as [GetAllResult];
    return result;
  } finally {
    await worker.terminate();
  }
}
