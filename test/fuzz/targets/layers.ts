import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError, FsError, type ManifestRoot } from '../../../src/core/index.js';
import { LayerSet, UpperLayer, type LayerSetState } from '../../../src/upper/index.js';
import { S_IFREG } from '../../../src/core/index.js';
import { newInode } from '../../upper/new-inode.js';
import { patternedBytes } from '../../fixtures/patterned-bytes.js';
import { mutated, mutatedJson } from '../mutate.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';

const PAGE_BYTES = 4096;
const INODES = 60;
const ROWS_MAX = 100_000;
const BASE = { workspace: 'w', seq: 1, root: 'ab'.repeat(32) as ManifestRoot };

export const layers: Target = {
  name: 'layers',
  promise: 'the folder of a mount with a wrong file in it opens, or is refused by a line for a person',
  cases: 60,
  outcomes: ['opened', 'refused'],
  begin: async (dir) => {
    const sample = path.join(dir, 'sample');
    makeSample(sample);
    const broken = path.join(dir, 'broken');
    const state = LayerSet.read(sample);
    return Promise.resolve({
      run: (random) => {
        cpSync(sample, broken, { recursive: true });
        if (random.once(2))
          writeFileSync(path.join(broken, 'layers.json'), mutatedJson(state, random), 'latin1');
        else damageDatabase(path.join(broken, 'layers', String(1 + random.below(2)), 'upper.sqlite'), random);
        try {
          open(broken);
          return 'opened';
        } catch (error) {
          if (!(error instanceof CairnError)) throw error;
          return 'refused';
        } finally {
          rmSync(broken, { recursive: true });
        }
      },
      end: () => undefined,
    });
  },
};

/** A sealed layer, an active one, and a stack that is retained. */
function makeSample(dir: string): void {
  const set = LayerSet.create(dir, BASE, { ino: 10, cookie: 3, end: 1_000_000 });
  const active = UpperLayer.open(set.layerDir(set.state.activeId), true);
  fill(active);
  const next = set.seal(active, { publishId: 'p', message: 'm', author: 'a', sealedAtMs: 1 });
  active.close();
  fill(next);
  next.close();
  set.retain([{ layerIds: [1], root: BASE.root, inos: [11] }]);
}

function fill(layer: UpperLayer): void {
  for (let number = 0; number < INODES; number++) {
    const inode = newInode(layer.allocateIno(), S_IFREG | 0o644);
    const bytes = patternedBytes(number, 1000 * (1 + (number % 5)));
    layer.writeData(inode, 0, bytes);
    inode.size = bytes.length;
    layer.putInode(inode);
    layer.putDentry(1, Buffer.from(`file ${String(inode.ino)}`), layer.allocateCookie(), inode.ino);
    layer.putXattr(inode.ino, Buffer.from('user.name'), Buffer.alloc(number * 40, 'v'));
    layer.commit(String(number), Buffer.alloc(10));
  }
}

function damageDatabase(file: string, random: Random): void {
  const bytes = readFileSync(file);
  const page = random.below(bytes.length / PAGE_BYTES) * PAGE_BYTES;
  const wrong = mutated(bytes.subarray(page, page + (random.once(2) ? 100 : PAGE_BYTES)), random);
  writeFileSync(file, Buffer.concat([bytes.subarray(0, page), wrong, bytes.subarray(page + wrong.length)]));
}

/** As a daemon that takes over does, and then all there is to read. What a read comes upon is an error of that read. */
function open(dir: string): void {
  const state = LayerSet.read(dir);
  if (state === undefined) throw new Error('no layers');
  checkShape(state);
  LayerSet.recover(dir, state);
  const set = LayerSet.open(dir);
  for (const id of [set.state.activeId, ...set.state.sealed.map((sealed) => sealed.id)]) {
    const layer = UpperLayer.open(set.layerDir(id), id === set.state.activeId);
    try {
      readAll(layer);
    } catch (error) {
      if (!isOfDatabase(error)) throw error;
    } finally {
      closeQuietly(layer);
    }
  }
}

/** What everybody takes for granted who was given one. */
function checkShape({ base, activeId, sealed, retained }: LayerSetState): void {
  const texts = [
    base.workspace,
    base.root,
    ...sealed.flatMap((one) => [one.publishId, one.message, one.author]),
  ];
  const numbers = [base.seq, activeId, ...sealed.flatMap((one) => [one.id, one.sealedAtMs])];
  const lists = retained.flatMap((stack) => [...stack.layerIds, ...stack.inos]);
  if (!texts.every((text) => typeof text === 'string')) throw new Error('a text that is none');
  if (![...numbers, ...lists].every((number) => Number.isSafeInteger(number)))
    throw new Error('a number that is none');
}

function readAll(layer: UpperLayer): void {
  let rows = 0;
  for (const inode of layer.inodes()) {
    if (++rows > ROWS_MAX) throw new Error('rows without an end');
    layer.xattrs(inode.ino);
    for (const extent of layer.extents(inode.ino, 0, 100_000)) {
      const length = Math.min(extent.length, 100_000);
      if (length > 0) layer.readExtent(inode.ino, extent, extent.offset, Buffer.alloc(length));
    }
  }
  layer.list(1, 0, 1000);
  Array.from(layer.dentries());
  layer.unlinkedInos();
}

/** The session answers these with EIO: what SQLite found, a position no file has, a value of another type. */
function isOfDatabase(error: unknown): boolean {
  if (error instanceof CairnError || error instanceof FsError) return true;
  return error instanceof Error && ('code' in error || error instanceof TypeError);
}

function closeQuietly(layer: UpperLayer): void {
  try {
    layer.close();
  } catch (error) {
    if (!isOfDatabase(error)) throw error;
  }
}
