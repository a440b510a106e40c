import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { openBlockStore } from '../../../src/blocks/index.js';
import { openCatalog } from '../../../src/catalog/index.js';
import { fetchManifest, openManifest, resolvePath } from '../../../src/manifest/index.js';
import { openObjectStore } from '../../../src/objects/index.js';
import { readContent } from '../../../src/snapshot/index.js';

/*
 * Agents in one process: what each asks of a service until a file is read, with the client of a mount, and a home folder each. Begins when something comes on
 * its input, and writes what each needed, in milliseconds, as a line of JSON.
 */

const [url = '', dir = '', first = '0', count = '0'] = process.argv.slice(2);

/** Milliseconds from nothing to a file’s bytes, which are what the manifest says. */
async function readOne(agent: number): Promise<number> {
  const home = join(dir, `agent-${String(agent)}`);
  const begin = performance.now();
  const catalog = await openCatalog(url, home);
  const objects = await openObjectStore(url, { home, workspace: 'tree' });
  const blocks = await openBlockStore({ objects, cacheDir: join(home, 'cache'), cacheBudgetBytes: 1e9 });
  try {
    const { root } = await catalog.version('tree');
    const reader = openManifest(await fetchManifest({ root, dir: join(home, 'manifests'), blocks, objects }));
    try {
      const index = (agent * 7919) % 5000;
      const path = Buffer.from(`d${String(index % 50)}/file-${String(index)}.txt`);
      const ino = resolvePath(reader, path);
      if (ino === undefined) throw new Error(`there is no ${path.toString()}`);
      const hash = createHash('sha256');
      for await (const piece of readContent(reader, blocks, ino)) hash.update(piece);
      if (hash.digest('hex') !== reader.content(ino)) throw new Error(`${path.toString()} is something else`);
    } finally {
      reader.close();
    }
    return performance.now() - begin;
  } finally {
    await blocks.close();
    await objects.close();
    await catalog.close();
  }
}

process.stdin.once('data', () => {
  const agents = Array.from({ length: Number(count) }, (_, index) => Number(first) + index);
  void Promise.allSettled(agents.map(readOne)).then((ended) => {
    const errors = ended.flatMap((each) => (each.status === 'rejected' ? [String(each.reason)] : []));
    const latenciesMs = ended.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    process.stdout.write(`${JSON.stringify({ latenciesMs, errors })}\n`);
    process.stdin.destroy();
  });
});
