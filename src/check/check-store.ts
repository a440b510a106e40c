import { sha256 } from '../blocks/index.js';
import {
  blockIdOf,
  bytesOfId,
  CairnError,
  isHexId,
  isRegular,
  messageOf,
  ROOT_INO,
  type BlockId,
} from '../core/index.js';
import { walk } from '../manifest/index.js';
import { withRepair } from './check-catalog.js';
import { nameOf, type CheckParts } from './check-parts.js';
import { rethrowUnlessCorrupt } from './check-versions.js';
import type { NeededBlock } from './scratch.js';

const PAGE_BLOCKS = 16;
const KEY = /^blocks\/([0-9a-f]{2})\/([0-9a-f]+)$/;

/** That every block the versions need is in the store, and what the catalog says of blocks; with `readData`, that each verifies. */
export async function checkStore(parts: CheckParts): Promise<void> {
  const sizes = catalogSizes(parts);
  let after: BlockId | undefined;
  for (;;) {
    const page = parts.scratch.neededPage(after, PAGE_BLOCKS);
    await Promise.all(page.map((needed) => checkBlock(parts, needed, sizes(needed.id))));
    after = page.at(-1)?.id;
    if (page.length < PAGE_BLOCKS) break;
  }
  if (parts.scratch.hasBad) await reportBad(parts);
  await checkCatalogBlocks(parts);
}

/** Notes which blocks the store has. Throws `not-found` when it has none though there are versions. */
export async function listObjects({ objects, scratch, versions, step }: CheckParts): Promise<void> {
  let count = 0;
  for await (const { key, sizeBytes } of objects.list('blocks/')) {
    const [, folder, id = ''] = KEY.exec(key) ?? [];
    if (folder === undefined || !isHexId(id) || !id.startsWith(folder)) continue;
    scratch.addObject(id as BlockId, sizeBytes);
    count += 1;
    await step();
  }
  // Rather the wrong store than one that lost everything; a repair must not begin with that.
  if (count === 0 && versions.length > 0) {
    throw new CairnError('not-found', `${objects.url} holds not one block of the versions in the catalog`, {
      hint: 'check --store and --catalog: they belong together',
    });
  }
}

type CatalogSize = { rawBytes: number; storedBytes: number } | undefined;

function catalogSizes({ catalog }: CheckParts): (id: BlockId) => CatalogSize {
  return (id) => catalog?.block(bytesOfId(id));
}

async function checkBlock(parts: CheckParts, needed: NeededBlock, known: CatalogSize): Promise<void> {
  const { scratch, source } = parts;
  const { id, end, storedBytes } = needed;
  if (storedBytes === undefined) {
    scratch.addBad(id, 'is missing');
    return;
  }
  // Another size than the catalog's is no damage in itself: whoever stored it first may have packed it by another release.
  if (!parts.readData && known?.storedBytes === storedBytes && known.rawBytes >= end) return;
  if (!parts.readData && known === undefined) return;
  try {
    const { raw } = await source.fromStore(id);
    if (raw.length < end)
      scratch.addBad(id, `has ${String(raw.length)} bytes, and versions need ${String(end)}`);
    for (const part of scratch.partsOf(id)) {
      const bytes = raw.subarray(part.offset, part.offset + part.length);
      if (sha256(bytes).toString('hex') !== part.id)
        scratch.addBad(id, `does not hold the content ${part.id} at byte ${String(part.offset)}`);
    }
    await parts.step(storedBytes);
  } catch (error) {
    rethrowUnlessCorrupt(error);
    scratch.addBad(id, messageOf(error).replace(`block ${id} `, ''));
  }
}

/** One finding for each bad block, with the versions and paths it is part of: one more pass over the versions finds them all. */
async function reportBad(parts: CheckParts): Promise<void> {
  const { scratch, reporter, source, shelf } = parts;
  for (const version of parts.versions) {
    const name = nameOf(version);
    const index = await shelf.storedIndex(version.root).catch(() => shelf.localIndex(version.root));
    for (const { block } of index?.runs ?? [])
      if (scratch.isBad(block)) scratch.concern(block, name, undefined);
    await shelf
      .with(version.root, async (manifest) => {
        for (const { path, inode } of walk(manifest, ROOT_INO)) {
          await parts.step();
          if (!isRegular(inode.mode) || manifest.embedded(inode.ino) !== undefined) continue;
          for (const { block } of manifest.extents(inode.ino, 0, inode.size))
            if (scratch.isBad(block)) scratch.concern(block, name, path);
        }
      })
      // A manifest that cannot be read was reported: nobody knows its paths.
      .catch(rethrowUnlessCorrupt);
  }
  for (const { id, what } of scratch.bad()) {
    await reporter.found(
      {
        place: 'store',
        what: `block ${id} in the store ${what}`,
        ...scratch.concerns(id),
        advice:
          'cairn fsck --repair puts a copy in its place if this home has one; so does any other home that has it in its cache',
      },
      async () => {
        if (await source.putBack(id)) return true;
        // Files of these bytes are then stored again when they are imported.
        if (what === 'is missing') await withRepair(parts, (repair) => repair.forgetBlock(id));
        return false;
      },
    );
  }
}

/** The catalog's blocks are those of the store: an import that counts on one that is not there would lose what it does not send. */
async function checkCatalogBlocks(parts: CheckParts): Promise<void> {
  const { catalog, scratch, reporter } = parts;
  if (catalog === undefined) return;
  for (const { id } of catalog.blocks()) {
    await parts.step();
    if (scratch.objectBytes(id) !== undefined || scratch.isNeeded(id)) continue;
    await reporter.found(
      {
        place: 'catalog',
        what: `catalog: block ${id.toString('hex')} is not in the store, and an import would count on it`,
        advice: 'cairn fsck --repair forgets it; no version checked here needs it',
      },
      async () => {
        await withRepair(parts, (repair) => repair.forgetBlock(blockIdOf(id)));
        return true;
      },
    );
  }
  for (let after: BlockId | undefined; ;) {
    const page = scratch.neededPage(after, PAGE_BLOCKS);
    for (const { id, storedBytes } of page) {
      if (storedBytes === undefined || catalog.block(bytesOfId(id)) !== undefined) continue;
      await reporter.found(
        {
          place: 'catalog',
          what: `catalog: block ${id} is in versions and in the store, and the catalog does not know it`,
          advice: 'harmless, but it would be stored once more; cairn fsck --repair adds it',
        },
        async () => {
          const { raw } = await parts.source.fromStore(id);
          await withRepair(parts, (repair) => repair.putBlock(id, raw.length, storedBytes));
          return true;
        },
      );
    }
    after = page.at(-1)?.id;
    if (page.length < PAGE_BLOCKS) return;
  }
}
