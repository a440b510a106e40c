import { createHash } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openServiceCatalog, type ServiceCatalog } from '../../src/catalog/index.js';
import { blockIdOf, type BlockId, type ManifestRoot } from '../../src/core/index.js';
import { publicationOn } from '../contract/catalog.js';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres-server.js';

const block = (name: string): BlockId => blockIdOf(createHash('sha256').update(name).digest());
const DAY_MS = 24 * 3_600_000;
const PAGE = { after: '', limit: 10 };

blockAccessContract('sqlite', (t) => Promise.resolve(`sqlite://${join(t.testdir(), 'catalog.sqlite')}`));
const why = whyNoPostgres();
if (why !== undefined) {
  t.test('postgres', { skip: why }, () => undefined);
} else {
  const server = await startPostgres();
  t.teardown(() => server.stop());
  blockAccessContract('postgres', () => server.newUrl());
}

function blockAccessContract(name: string, newUrl: (t: Test) => Promise<string>): void {
  const opened = async (t: Test): Promise<ServiceCatalog> => {
    const opened = await openServiceCatalog(await newUrl(t));
    t.teardown(() => opened.close());
    for (const workspace of ['w', 'x']) await opened.catalog.ensureWorkspace(workspace);
    return opened;
  };

  void t.test(`${name}: a workspace holds what its versions need and what was uploaded for it`, async (t) => {
    const { catalog, blockAccess } = await opened(t);
    const ids = Array.from({ length: 1200 }, (_, i) => block(String(i)));
    t.same(await blockAccess.held('w', ids), new Set());
    t.same(await blockAccess.unrecordedWorkspaces(), []);

    const { root } = await catalog.publish(publicationOn(0));
    await catalog.publish(publicationOn(1));
    t.same(await blockAccess.unrecordedWorkspaces(), ['w']);
    t.match(await blockAccess.unrecorded('w'), [
      { version: { seq: 1 }, earlier: undefined },
      { version: { seq: 2 }, earlier: root },
    ]);
    await blockAccess.record('w', 1, ids);
    await blockAccess.record('w', 1, ids);
    t.match(await blockAccess.unrecorded('w'), [{ version: { seq: 2 }, earlier: root }]);
    await blockAccess.record('w', 2, [block('more')]);
    t.same(await blockAccess.unrecorded('w'), []);
    t.same(await blockAccess.unrecordedWorkspaces(), []);

    t.same(await blockAccess.held('w', [...ids, block('unknown')]), new Set(ids));
    t.same(await blockAccess.held('x', ids), new Set(), 'and another workspace does not');
    t.same(await blockAccess.held('nowhere', ids), new Set());
    t.same(await blockAccess.holders(block('7'), PAGE), ['w']);
    await blockAccess.uploaded('x', [block('7'), block('own')]);
    await blockAccess.uploaded('x', [block('7')]);
    t.same(await blockAccess.holders(block('7'), PAGE), ['w', 'x']);
    t.same(await blockAccess.holders(block('7'), { after: 'w', limit: 10 }), ['x']);
    t.same(await blockAccess.holders(block('7'), { after: '', limit: 1 }), ['w']);
    t.same(
      await blockAccess.held('x', [block('7'), block('8'), block('own')]),
      new Set([block('7'), block('own')]),
    );

    t.equal(await blockAccess.holdsManifest('w', root), true);
    t.equal(await blockAccess.holdsManifest('x', root), false);
    t.same(await blockAccess.manifestHolders(root, PAGE), ['w']);
    const draft = block('draft') as string as ManifestRoot;
    await blockAccess.uploaded('x', [draft]);
    t.equal(await blockAccess.holdsManifest('x', draft), true);
    t.equal(await blockAccess.holdsManifest('w', draft), false);
    t.same(await blockAccess.manifestHolders(draft, PAGE), ['x']);

    await catalog.trashWorkspace('w');
    t.same(await blockAccess.held('w', ids), new Set(), 'what is in the trash is read by nobody');
    t.same(await blockAccess.holders(block('7'), PAGE), ['x']);
    t.same(await blockAccess.manifestHolders(root, PAGE), []);
    await catalog.undeleteWorkspace('w');
    t.equal((await blockAccess.held('w', ids)).size, ids.length);
  });

  void t.test(`${name}: an upload that no version holds is forgotten after its term`, async (t) => {
    const { blockAccess } = await opened(t);
    await blockAccess.uploaded('w', [block('a'), block('b')]);
    await blockAccess.record('w', 1, [block('b')]);
    await blockAccess.expire(Date.now() + DAY_MS / 2);
    t.same(await blockAccess.held('w', [block('a')]), new Set([block('a')]));
    await blockAccess.expire(Date.now() + DAY_MS + 1000);
    t.same(await blockAccess.held('w', [block('a'), block('b')]), new Set([block('b')]));
  });
}
