import { mkdirSync, readFileSync, rmSync, writeFileSync, chmodSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { blockKey } from '../../src/blocks/index.js';
import { checkAll, type CheckOptions, type CheckSummary, type Finding } from '../../src/check/index.js';
import type { BlockId } from '../../src/core/index.js';
import { manifestKey } from '../../src/manifest/index.js';
import { saveServiceToken } from '../../src/wire/index.js';
import { runCairn } from '../cli/run-cairn.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { openStores } from '../snapshot/stores.js';
import { startServiceSite } from './service-site.js';

interface Machine {
  home: string;
  /** Of the service's store. */
  objectPath: (key: string) => string;
  /** Those of a file's, and of the last manifest. */
  blocks: { file: BlockId; manifest: string };
  check: (options?: Partial<CheckOptions>) => Promise<{ summary: CheckSummary; findings: Finding[] }>;
  url: string;
}

/** A machine with nothing but a token, and two versions that it has published through a service. */
async function machine(t: Test): Promise<Machine> {
  const dir = scratchFolder(t);
  const site = await startServiceSite(t, { dir });
  await site.service.context.catalog.ensureWorkspace('demo');
  // What the token does not open is not there for it.
  await site.publish('other', { file: 'of others' });
  const home = scratchFolder(t);
  await saveServiceToken(site.url, await site.token({ workspace: 'demo', can: ['read', 'write'] }), home);
  const stores = await openStores(home, { service: site.url });
  const source = join(home, 'source');
  mkdirSync(source);
  writeFileSync(join(source, 'large'), randomBytes(600_000));
  await stores.import(source);
  writeFileSync(join(source, 'small'), 'a few bytes');
  const { version } = await stores.import(source);
  const manifest = await stores.open(version);
  const [file] = manifest.blocks();
  manifest.close();
  if (file !== undefined) await stores.blocks.get(file);
  await stores.close();
  if (file === undefined) throw new Error('a file has a block');
  rmSync(source, { recursive: true });
  return {
    home,
    url: site.url,
    objectPath: (key) => join(dir, 'store', key),
    blocks: { file, manifest: version.root },
    check: async (options = {}) => {
      const findings: Finding[] = [];
      const summary = await checkAll({
        home,
        store: site.url,
        catalog: site.url,
        only: undefined,
        readData: false,
        repair: false,
        isInUse: () => Promise.resolve(false),
        onFinding: (finding) => Promise.resolve(void findings.push(finding)),
        ...options,
      });
      return { summary, findings };
    },
  };
}

function flipByte(path: string): void {
  const bytes = readFileSync(path);
  const at = bytes.length - 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  chmodSync(path, 0o644);
  writeFileSync(path, bytes);
}

void t.test(
  'through a service an agent checks what its token may read, and says what it cannot check',
  async (t) => {
    const { home, url, check } = await machine(t);
    const sound = await check({ readData: true });
    t.same(sound.findings, []);
    t.match(sound.summary, { versions: 2, catalogChecked: false, left: 0 });
    t.ok(sound.summary.blocks > 2 && sound.summary.cachedBlocks > 0 && sound.summary.localManifests > 0);
    t.match((await check({ only: { workspace: 'demo', seq: 1 } })).summary, { versions: 1 });
    await t.rejects(check({ only: { workspace: 'other' } }), { code: 'not-found' });
    await t.rejects(check({ only: { workspace: 'demo', seq: 7 } }), { code: 'not-found' });

    const ran = await runCairn(home, ['fsck', '--catalog', url]);
    t.match(ran, { code: 0, stdout: /checked 2 versions/ });
    t.match(
      ran.stdout,
      /rows of the catalog were not checked: for that run cairn fsck where the service .* runs/,
    );
  },
);

void t.test(
  'damage in the store of a service is found, with the versions and paths it concerns',
  async (t) => {
    const { check, objectPath, blocks, home } = await machine(t);
    const path = objectPath(blockKey(blocks.file));
    const whole = readFileSync(path);
    flipByte(path);
    t.same((await check()).findings, [], 'what is there is not read');
    const damaged = [{ place: 'store', versions: ['demo@1', 'demo@2'], paths: [Buffer.from('large')] }];
    t.match((await check({ readData: true })).findings, damaged);
    rmSync(path);
    t.match((await check()).findings, [{ ...damaged[0], what: /is missing/ }]);
    const repairing = await check({ repair: true });
    t.match(repairing.findings[0], { repaired: false }, 'what the service has is repaired where it runs');
    t.equal(repairing.summary.left, 1);
    writeFileSync(path, whole);

    const index = objectPath(manifestKey(blocks.manifest as never));
    flipByte(index);
    t.match((await check()).findings, [{ what: /^index object of demo@2/ }]);
    flipByte(index);

    flipByte(join(home, 'cache', blocks.file.slice(0, 2), blocks.file));
    t.match((await check()).findings, [{ place: 'cache' }]);
    t.match((await check({ repair: true })).summary, { repaired: 1, left: 0 });
  },
);
