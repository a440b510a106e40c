import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ROOT_INO, S_IFREG, type ManifestRoot } from '../../src/core/index.js';
import { layerDir, LayerSet, UpperLayer, type BaseVersion } from '../../src/upper/index.js';
import { newInode } from './new-inode.js';

const BASE: BaseVersion = { workspace: 'w', seq: 1, root: 'ab'.repeat(32) as ManifestRoot };
const NEXT = { ino: 10, cookie: 3, end: 1_000_000 };
const OPERATIONS = 6;

/** All bytes of everything, instead of some. */
const EVERY_BYTE = process.env['CAIRN_TEST_LARGE'] === '1';

/** Makes one file; the journal gets one record. */
function makeFile(layer: UpperLayer, name: string): void {
  const inode = newInode(layer.allocateIno(), S_IFREG | 0o644);
  layer.putInode(inode);
  layer.putDentry(ROOT_INO, Buffer.from(name), layer.allocateCookie(), inode.ino);
  layer.commit(name, Buffer.from(name));
}

/** A mount's folder with a sealed layer and an active one, whose operations are in its journal alone. */
function mountFolder(t: Test): { mount: string; active: string } {
  const mount = t.testdir();
  const set = LayerSet.create(mount, BASE, NEXT);
  const sealed = UpperLayer.open(layerDir(mount, set.state.activeId), true);
  makeFile(sealed, 'sealed');
  const layer = set.seal(sealed, { publishId: 'p', message: 'mé', author: 'a', sealedAtMs: 1 });
  sealed.close();
  for (let index = 0; index < OPERATIONS; index++) makeFile(layer, `file-${String(index)}`);
  const copy = `${mount}/killed`;
  cpSync(layer.dir, copy, { recursive: true });
  const { dir } = layer;
  layer.close();
  rmSync(dir, { recursive: true });
  cpSync(copy, dir, { recursive: true });
  rmSync(copy, { recursive: true });
  return { mount, active: dir };
}

function filesIn(dir: string): number {
  const layer = UpperLayer.open(dir, true);
  try {
    let count = 0;
    while (layer.dentry(ROOT_INO, Buffer.from(`file-${String(count)}`)) !== undefined) count++;
    t.equal([...layer.dentries()].length, count, 'what is there is a beginning of what was done');
    return count;
  } finally {
    layer.close();
  }
}

t.test('layers.json with a byte changed is refused, and no layer is swept', async (t) => {
  const { mount } = mountFolder(t);
  const file = join(mount, 'layers.json');
  const bytes = readFileSync(file);
  const state = LayerSet.read(mount);
  for (let at = 0; at < bytes.length; at++) {
    for (const mask of EVERY_BYTE ? [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] : [0x02]) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(at) ^ mask, at);
      writeFileSync(file, damaged);
      try {
        t.strictSame(LayerSet.open(mount).state, state, `byte ${String(at)} says the same`);
      } catch (error) {
        t.match(error, { code: 'corrupt', message: /layers\.json does not describe upper layers/ });
      }
    }
  }
  for (let length = 0; length < bytes.length - 1; length++) {
    writeFileSync(file, bytes.subarray(0, length));
    t.throws(() => LayerSet.open(mount), { code: 'corrupt' });
  }
  t.same(readdirSync(join(mount, 'layers')).sort(), ['1', '2']);
  writeFileSync(file, bytes);
  t.strictSame(LayerSet.open(mount).state, state);
});

t.test('layers.json that is gone is not taken for a new mount, where there are edits', async (t) => {
  const { mount } = mountFolder(t);
  rmSync(join(mount, 'layers.json'));
  for (const action of [
    () => LayerSet.read(mount),
    () => LayerSet.open(mount),
    () => LayerSet.create(mount, BASE, NEXT),
  ])
    t.throws(action, { code: 'corrupt', message: /is missing, and there are edits/ });
  t.same(readdirSync(join(mount, 'layers')).sort(), ['1', '2']);

  const fresh = t.testdir({ fresh: {} });
  LayerSet.create(fresh, BASE, NEXT);
  rmSync(join(fresh, 'layers.json'));
  t.equal(LayerSet.read(fresh), undefined, 'one that was only being made is none');
});

t.test('layers.json of an earlier release is read', async (t) => {
  const { mount } = mountFolder(t);
  const file = join(mount, 'layers.json');
  const state = LayerSet.read(mount);
  writeFileSync(file, JSON.stringify({ ...state, format: 1 }));
  t.strictSame(LayerSet.read(mount), state);
});

t.test(
  'a journal with a byte changed: what was done before it is there, and what was done after it is not thrown away',
  async (t) => {
    const { active } = mountFolder(t);
    const journal = join(active, 'journal-1');
    const bytes = readFileSync(journal);
    const copy = `${active}-copy`;
    let lost = 0;
    let tried = 0;
    for (let at = 0; at < bytes.length; at += EVERY_BYTE ? 1 : 29) {
      tried++;
      rmSync(copy, { recursive: true, force: true });
      cpSync(active, copy, { recursive: true });
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (at % 8)), at);
      writeFileSync(join(copy, 'journal-1'), damaged);
      const layer = UpperLayer.open(copy, true);
      const count = [...layer.dentries()].length;
      makeFile(layer, 'one more');
      layer.close();
      if (count < OPERATIONS) lost++;
      // The last record cannot be told from one that a crash cut short, and nothing comes after it.
      if (count >= OPERATIONS - 1) continue;
      const aside = readdirSync(copy).filter((name) => name.startsWith('damaged-1-'));
      t.equal(aside.length, 1, `byte ${String(at)}: ${String(count)} operations are left`);
      t.ok(readFileSync(join(copy, aside[0] ?? '')).equals(damaged));
    }
    t.equal(lost, tried, 'there is no byte that does not count');
    t.equal(filesIn(active), OPERATIONS);
  },
);

t.test('a journal that is cut short has what is whole, and nothing is set aside', async (t) => {
  const { active } = mountFolder(t);
  const bytes = readFileSync(join(active, 'journal-1')).length;
  const copy = `${active}-copy`;
  for (let length = 0; length < bytes; length += EVERY_BYTE ? 1 : 61) {
    rmSync(copy, { recursive: true, force: true });
    cpSync(active, copy, { recursive: true });
    truncateSync(join(copy, 'journal-1'), length);
    const layer = UpperLayer.open(copy, true);
    const count = [...layer.dentries()].length;
    t.ok(count < OPERATIONS);
    t.equal(layer.last().lastUnique, count === 0 ? 'sealed' : `file-${String(count - 1)}`);
    makeFile(layer, 'one more');
    layer.close();
    t.notOk(readdirSync(copy).some((name) => name.startsWith('damaged-')));
  }
});

t.test('upper.sqlite with bytes changed opens, or is refused by its path: never anything else', async (t) => {
  const { active } = mountFolder(t);
  UpperLayer.open(active, true).close();
  const file = join(active, 'upper.sqlite');
  const bytes = readFileSync(file);
  let refused = 0;
  for (let round = 0; round < (EVERY_BYTE ? 5000 : 150); round++) {
    const damaged = Buffer.from(bytes);
    // The header and the schema byte by byte, then everywhere.
    const at = round < 100 ? round : (round * 7919 * 31) % bytes.length;
    damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (round % 8)), at);
    writeFileSync(file, damaged);
    for (const suffix of ['-wal', '-shm']) rmSync(`${file}${suffix}`, { force: true });
    try {
      UpperLayer.recover(active);
      const layer = UpperLayer.open(active, true);
      layer.close();
    } catch (error) {
      t.match(
        error,
        { name: 'CairnError', code: /corrupt|unsupported/, message: new RegExp(`upper layer ${active}`) },
        `byte ${String(at)}`,
      );
      refused++;
    }
  }
  t.ok(refused > 10, `${String(refused)} refused`);
  t.ok(existsSync(file));
});
