/** A thread that gets all of some URLs, many at once, and throws the bytes away: what a line can carry, and a server can serve. */
import { Agent, get } from 'node:http';
import { parentPort, workerData } from 'node:worker_threads';

/** Of the worker: `workerData`, and its one message. */
export interface GetAllTask {
  urls: string[];
  atOnce: number;
}

export interface GetAllResult {
  tookMs: number;
  bytes: number;
}

async function size(url: string, agent: Agent): Promise<number> {
  return await new Promise((resolve, reject) => {
    const request = get(url, { agent }, (answer) => {
      let bytes = 0;
      answer.on('data', (piece: Buffer) => (bytes += piece.length));
      answer.on('end', () => {
        if (answer.statusCode === 200) resolve(bytes);
        else reject(new Error(`${url}: status ${answer.statusCode ?? 'unknown'}`));
      });
      answer.on('error', reject);
    });
    request.on('error', reject);
  });
}

const { urls, atOnce } = workerData as GetAllTask;
const agent = new Agent({ keepAlive: true, maxSockets: atOnce });
const waiting = urls.values();
let bytes = 0;
const beganMs = performance.now();
const work = async (): Promise<void> => {
  for (const url of waiting) {
    const more = await size(url, agent);
    bytes += more;
  }
};
await Promise.all(Array.from({ length: atOnce }, work));
parentPort?.postMessage({ tookMs: performance.now() - beganMs, bytes } satisfies GetAllResult);
agent.destroy();
