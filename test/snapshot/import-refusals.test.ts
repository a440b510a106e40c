import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  openSync,
  readdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ROOT_INO } from '../../src/core/index.js';
import { walk } from '../../src/manifest/index.js';
import { compareTrees } from '../fixtures/compare-trees.js';
import { buildOddities, isRoot } from '../fixtures/oddities.js';
import { scratchStores, type Stores } from './stores.js';

const MIB = 1024 * 1024;

// Whole trees are written, imported and compared: what that takes says nothing of whether it is right.
t.setTimeout(0);

async function pathsOf(stores: Stores, seq: number): Promise<string[]> {
  const reader = await stores.open(await stores.catalog.version('demo', seq));
  try {
    return Array.from(walk(reader, ROOT_INO), ({ path }) => path.toString());
  } finally {
    reader.close();
  }
}

async function nothingWasMade(t: Test, stores: Stores): Promise<void> {
  t.same(
    (await stores.catalog.workspaces()).filter(({ headSeq }) => headSeq > 0),
    [],
    'no version',
  );
  const drafts = readdirSync(stores.home, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.includes('import-'),
  );
  t.same(drafts, [], 'no draft of a manifest');
}

await t.test('what is not a directory, or holds the own folder, is refused', async (t) => {
  const stores = await scratchStores(t);
  writeFileSync(`${stores.source}/file`, '');
  symlinkSync(stores.dir, `${stores.dir}/link`);
  await t.rejects(stores.import(`${stores.dir}/nowhere`), { code: 'not-found', message: /nowhere/ });
  await t.rejects(stores.import(`${stores.source}/file`), { code: 'usage', message: /not a directory/ });
  await t.rejects(stores.import(stores.home), { code: 'usage', message: /own folder/ });
  await t.rejects(stores.import(stores.dir), { code: 'usage', message: /own folder/ });
  await t.rejects(stores.import(`${stores.dir}/link`), { code: 'usage', message: /own folder/ });
  await t.rejects(stores.import(stores.source, { workspace: 'Not a name' }), { code: 'usage' });
  t.same(await stores.catalog.workspaces(), []);
  await nothingWasMade(t, stores);
});

await t.test(
  'a file nobody may read fails the import with its name',
  { skip: isRoot && 'root may' },
  async (t) => {
    const stores = await scratchStores(t);
    writeFileSync(`${stores.source}/secret`, 'x');
    chmodSync(`${stores.source}/secret`, 0);
    await t.rejects(stores.import(stores.source), { code: 'failed', message: /secret: permission denied/ });
    await nothingWasMade(t, stores);
  },
);

await t.test('a file that never holds still fails the import with its name', async (t) => {
  const stores = await scratchStores(t);
  const path = `${stores.source}/busy`;
  writeFileSync(path, Buffer.alloc(40 * MIB, 1));
  const script = `const fs = require('node:fs'); const fd = fs.openSync(process.argv[1], 'a'); const x = Buffer.from('x');
    process.stdout.write('on'); for (let i = 0; i < 2e7; i++) fs.writeSync(fd, x);`;
  const writer = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => writer.kill('SIGKILL'));
  await once(writer.stdout, 'data');
  await t.rejects(stores.import(stores.source), { code: 'changed-while-read', message: /busy/ });
  await nothingWasMade(t, stores);
});

await t.test('what is removed between listing and reading is not part of the version', async (t) => {
  const stores = await scratchStores(t);
  // So many large files are ahead of them that `z-*` are not read before the first one is done.
  for (let index = 0; index < 20; index++) {
    const fd = openSync(`${stores.source}/a-${String(index)}`, 'w');
    ftruncateSync(fd, 9 * MIB);
    closeSync(fd);
  }
  for (const name of ['z-gone', 'z-linked-1', 'z-changed'])
    writeFileSync(`${stores.source}/${name}`, Buffer.alloc(MIB, 1));
  linkSync(`${stores.source}/z-linked-1`, `${stores.source}/z-linked-2`);
  let removed = false;
  const { version } = await stores.import(stores.source, {
    onProgress: () => {
      if (removed) return;
      removed = true;
      unlinkSync(`${stores.source}/z-gone`);
      unlinkSync(`${stores.source}/z-linked-1`);
      appendFileSync(`${stores.source}/z-changed`, 'at the last moment');
    },
  });
  const paths = await pathsOf(stores, version.seq);
  t.same(
    paths.filter((path) => path.startsWith('z')),
    ['z-changed', 'z-linked-2'],
  );
  await stores.restore(version, `${stores.dir}/restored`);
  const differences = compareTrees(stores.source, `${stores.dir}/restored`).filter(
    (line) => !line.startsWith('.: mtime'),
  );
  t.same(differences, []);
});

await t.test('an import that is given up leaves nothing half-made', async (t) => {
  const stores = await scratchStores(t);
  buildOddities(stores.source);
  const controller = new AbortController();
  const reason = new Error('given up');
  const importing = stores.import(stores.source, {
    signal: controller.signal,
    onProgress: () => {
      controller.abort(reason);
    },
  });
  await t.rejects(importing, reason);
  await nothingWasMade(t, stores);
  t.equal((await stores.import(stores.source)).created, true);
});

await t.test(
  'of two imports at once that follow the same version, one is told of the conflict',
  async (t) => {
    const stores = await scratchStores(t);
    writeFileSync(`${stores.source}/file`, 'one');
    const results = await Promise.allSettled([stores.import(stores.source), stores.import(stores.source)]);
    t.same(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    t.match(
      results.find((result) => result.status === 'rejected'),
      { reason: { code: 'conflict' } },
    );
    t.equal((await stores.catalog.workspace('demo')).headSeq, 1);
  },
);

await t.test('law 1: an import that was killed leaves no version, and the next one makes it', async (t) => {
  const stores = await scratchStores(t);
  buildOddities(stores.source);
  const program = join(import.meta.dirname, 'import-process.js');
  for (const filesDone of [1, 300, 600]) {
    const child = spawn(process.execPath, [program, stores.home, stores.source, String(filesDone)], {
      stdio: 'inherit',
    });
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
    t.equal(signal, 'SIGKILL');
    t.same(
      (await stores.catalog.workspaces()).filter(({ headSeq }) => headSeq > 0),
      [],
    );
  }
  const { version } = await stores.import(stores.source);
  await stores.restore(version, `${stores.dir}/restored`);
  t.same(compareTrees(stores.source, `${stores.dir}/restored`, { holes: true }), []);
  const left = readdirSync(`${stores.home}/manifests`).filter((name) => name.startsWith('import-'));
  t.same(left, [], 'the drafts of the killed ones are gone');
});
