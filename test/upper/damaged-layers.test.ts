import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CairnError, ROOT_INO, S_IFLNK, S_IFREG, type ManifestRoot } from '../../src/core/index.js';
import { auditLayer, layerDir, LayerSet, UpperLayer, type BaseVersion } from '../../src/upper/index.js';
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

const NAMES = ['a', 'b', 'link'].map((name) => Buffer.from(name));
const INOS = [10, 11, 12];
const ATTRIBUTE = Buffer.from('user.note');

/** A layer with rows of every kind in its database, whose journal is empty. */
function layerOfEveryKind(t: Test): string {
  const dir = join(t.testdir(), 'layer');
  UpperLayer.create(dir, { nextIno: 10, nextCookie: 3, lastUnique: '7', lastReply: Buffer.from('reply') });
  const layer = UpperLayer.open(dir, true);
  for (const [index, name] of NAMES.entries()) {
    const isLink = index === 2;
    const inode = newInode(layer.allocateIno(), isLink ? S_IFLNK | 0o777 : S_IFREG | 0o644);
    layer.putInode(inode);
    layer.putDentry(ROOT_INO, name, layer.allocateCookie(), inode.ino);
    if (isLink) layer.setSymlink(inode.ino, Buffer.from('target'));
    else layer.writeData(inode, 0, Buffer.alloc(5000, index + 1));
    layer.putXattr(inode.ino, ATTRIBUTE, Buffer.from(`value ${String(index)}`));
  }
  layer.commit('8', Buffer.from('another'));
  layer.close();
  return dir;
}

/** Everything in the layer, each asked for by itself, as text; what is refused as `corrupt` is undefined. */
function readEach(dir: string): Map<string, string | undefined> {
  const read = new Map<string, string | undefined>();
  const note = (what: string, ask: () => unknown): void => {
    try {
      read.set(what, JSON.stringify([ask()]));
    } catch (error) {
      if (!(error instanceof CairnError && error.code === 'corrupt') && !isDamage(error)) throw error;
      read.set(what, undefined);
    }
  };
  let layer: UpperLayer | undefined;
  note('state', () => {
    layer = UpperLayer.open(dir, false);
    return [layer.last(), layer.nextIno];
  });
  const opened = layer;
  if (opened === undefined) return read;
  for (const ino of INOS) {
    note(`inode ${String(ino)}`, () => opened.inode(ino));
    note(`names of ${String(ino)}`, () => opened.namesOf(ino));
    note(`link ${String(ino)}`, () => opened.symlink(ino)?.toString());
    note(`attributes of ${String(ino)}`, () => opened.xattrs(ino));
    note(`attribute of ${String(ino)}`, () => opened.xattr(ino, ATTRIBUTE)?.toString());
    note(`extents of ${String(ino)}`, () => opened.extents(ino, 0, 10_000));
  }
  for (const name of NAMES) note(`name ${name.toString()}`, () => opened.dentry(ROOT_INO, name));
  note('listing', () => opened.list(ROOT_INO, 0, 100));
  note('all names', () => [...opened.dentries()]);
  note('all inodes', () => [...opened.inodes()]);
  opened.close();
  return read;
}

/** What SQLite says of its own pages. */
function isDamage(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('SQLITE_');
}

t.test(
  'upper.sqlite with a byte changed: a row is what was written, or refused, or not there; the check finds it',
  async (t) => {
    const dir = layerOfEveryKind(t);
    const file = join(dir, 'upper.sqlite');
    const expected = readEach(dir);
    const whole = readFileSync(file);
    const scratch = `${dir}-scratch`;
    const known = new Set([...expected.values()].map(String));
    t.same([...auditLayer(dir, scratch)], []);
    const counts = { same: 0, refused: 0, missing: 0, unnoticed: 0 };
    for (let at = 100; at < whole.length; at += EVERY_BYTE ? 1 : 41) {
      // Of free space nobody reads there are whole pages.
      if (whole.subarray(at, at + 8).every((byte) => byte === 0)) continue;
      const damaged = Buffer.from(whole);
      damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (at % 8)), at);
      writeFileSync(file, damaged);
      for (const suffix of ['-wal', '-shm']) rmSync(`${file}${suffix}`, { force: true });
      const read = readEach(dir);
      let differs = false;
      for (const [what, text] of read) {
        if (text === expected.get(what)) continue;
        differs = true;
        if (text === undefined) counts.refused++;
        else counts.missing++;
        // A list may lack a row; a row that is there is one that was written.
        const isPart =
          text === undefined || rowsOf(text).every((row) => [...known].some((all) => all.includes(row)));
        t.ok(isPart, `byte ${String(at)}, ${what}: ${String(text)}`);
      }
      if (!differs) {
        counts.same++;
        continue;
      }
      rmSync(scratch, { recursive: true, force: true });
      if ([...auditLayer(dir, scratch)].length === 0) {
        counts.unnoticed++;
        t.fail(`byte ${String(at)}: the check finds nothing`);
      }
    }
    writeFileSync(file, whole);
    t.comment(JSON.stringify(counts));
    t.ok(counts.refused > 10, 'rows were refused');
    t.strictSame(readEach(dir), expected);
  },
);

/** The rows of a list, or the one thing. */
function rowsOf(text: string): string[] {
  const [value] = JSON.parse(text) as [unknown];
  if (value === null) return [];
  return (Array.isArray(value) ? value : [value]).map((row) => JSON.stringify(row));
}
