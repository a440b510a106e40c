import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { S_IFREG, type ManifestRoot } from '../../src/core/index.js';
import { LayerSet, UpperLayer, type BaseVersion, type LayerInode } from '../../src/upper/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { newInode } from './new-inode.js';

const RUNS = 200 * Number(process.env['CAIRN_TEST_RUNS'] ?? 1);
const KIB = 1024;
const MIB = 1024 * KIB;
const BASE: BaseVersion = { workspace: 'w', seq: 1, root: 'ab'.repeat(32) as ManifestRoot };
const SEALED = { publishId: 'p', message: '', author: '', sealedAtMs: 1 };
const NOTHING = Buffer.alloc(0);

function openEmpty(dir: string): UpperLayer {
  UpperLayer.create(dir, { nextIno: 10, nextCookie: 3, lastUnique: '', lastReply: NOTHING });
  return UpperLayer.open(dir, true);
}

/** A file's bytes by its extents alone; 0xEE where the layer says they are below. */
function bytesOf(layer: UpperLayer, inode: LayerInode): Buffer {
  const bytes = Buffer.alloc(inode.size);
  bytes.fill(0xee, 0, inode.belowLimit);
  for (const extent of layer.extents(inode.ino, 0, inode.size)) {
    layer.readExtent(
      inode.ino,
      extent,
      extent.offset,
      bytes.subarray(extent.offset, extent.offset + extent.length),
    );
  }
  return bytes;
}

function writeFile(layer: UpperLayer, inode: LayerInode, offset: number, data: Buffer): void {
  layer.writeData(inode, offset, data);
  inode.size = Math.max(inode.size, offset + data.length);
  layer.putInode({ ...inode });
}

/** As the kernel writes pages back: neighbours that touch, and the same pages again. */
const pages = fc.integer({ min: 0, max: 4 }).map((count) => count * 4 * KIB);
const offset = fc.oneof(
  pages,
  fc.nat({ max: 300 }),
  fc.nat({ max: 140 * KIB }),
  fc.constantFrom(128 * KIB, 300 * KIB),
);
const length = fc.oneof(
  pages.filter((bytes) => bytes > 0),
  fc.integer({ min: 1, max: 200 }),
  fc.integer({ min: 1, max: 40 * KIB }),
);
const change = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('write' as const), offset, length, seed: fc.nat() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('truncate' as const), size: offset }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('zero' as const), offset, length }) },
);
const transaction = fc.record({
  changes: fc.array(change, { minLength: 1, maxLength: 3 }),
  end: fc.oneof(
    { weight: 5, arbitrary: fc.constant('commit' as const) },
    { weight: 2, arbitrary: fc.constant('rollback' as const) },
    { weight: 1, arbitrary: fc.constantFrom('fold' as const, 'reopen' as const, 'death' as const) },
  ),
});

t.test('a stretch written again keeps its neighbours when the file moves to one of its own', async (t) => {
  // Pages 0 and 1, then page 2, then page 2 again: the extent of the first two was dropped when the third was found whole, and their
  // bytes were those of the version below again.
  const layer = openEmpty(t.testdir());
  const inode = newInode(11, S_IFREG | 0o644);
  const [first, second] = [patternedBytes(1, 8 * KIB), patternedBytes(2, 4 * KIB)];
  writeFile(layer, inode, 0, first);
  writeFile(layer, inode, first.length, patternedBytes(3, 4 * KIB));
  writeFile(layer, inode, first.length, second);
  t.equal(inode.ownFile, 1);
  t.ok(bytesOf(layer, inode).equals(Buffer.concat([first, second])));
  layer.close();
});

// Shrinking a failure, and a longer run, take as long as they take.
t.setTimeout(0);

t.test(
  'extents of a file are what a byte array would be, written, cut, zeroed and moved to a file of its own',
  async (t) => {
    const dir = t.testdir();
    let run = 0;
    fc.assert(
      fc.property(
        fc.nat({ max: 200 * KIB }),
        fc.array(transaction, { maxLength: 25, size: 'max' }),
        (below, transactions) => {
          let layerDir = join(dir, String(++run));
          let layer = openEmpty(layerDir);
          try {
            const ino = layer.allocateIno();
            // Of a file that is below: all of it is visible until it is covered.
            const first = { ...newInode(ino, S_IFREG | 0o600), size: below, belowLimit: below };
            layer.putInode(first);
            layer.commit('', NOTHING);
            let model = Buffer.alloc(below, 0xee);
            for (const { changes, end: wanted } of transactions) {
              const inode = { ...layer.inode(ino)! };
              // A file of its own is written in place: only what extents say is taken back.
              const end = wanted === 'rollback' && inode.ownFile === 1 ? 'commit' : wanted;
              const before = model;
              if (end === 'rollback') model = Buffer.from(model);
              for (const one of changes) {
                if (one.kind === 'write') {
                  const data = patternedBytes(one.seed, one.length);
                  writeFile(layer, inode, one.offset, data);
                  if (model.length < one.offset + one.length) {
                    model = Buffer.concat([model, Buffer.alloc(one.offset + one.length - model.length)]);
                  }
                  data.copy(model, one.offset);
                } else if (one.kind === 'truncate') {
                  if (one.size < inode.size) layer.truncateData(inode, one.size);
                  inode.size = one.size;
                  model = Buffer.concat([
                    model.subarray(0, one.size),
                    Buffer.alloc(Math.max(0, one.size - model.length)),
                  ]);
                } else {
                  layer.zeroData(inode, one.offset, one.length);
                  model.fill(
                    0,
                    Math.min(model.length, one.offset),
                    Math.min(model.length, one.offset + one.length),
                  );
                }
              }
              layer.putInode(inode);
              if (end === 'rollback') {
                layer.rollback();
                model = before;
              } else {
                layer.commit('', NOTHING);
              }
              if (end === 'fold') layer.fold();
              if (end === 'death') {
                // What a process that is gone leaves behind is what another finds now.
                const copied = join(dir, String(++run));
                cpSync(layerDir, copied, { recursive: true });
                layer.close();
                layerDir = copied;
                layer = UpperLayer.open(layerDir, true);
              }
              if (end === 'reopen') {
                layer.close();
                layer = UpperLayer.open(layerDir, true);
              }
              const now = layer.inode(ino)!;
              if (now.size !== model.length || !bytesOf(layer, now).equals(model)) return false;
            }
            return true;
          } finally {
            layer.close();
          }
        },
      ),
      { numRuns: RUNS },
    );
    t.pass(`${RUNS} sequences`);
  },
);

t.test('what is rolled back leaves no trace', async (t) => {
  const dir = join(t.testdir(), 'layer');
  const layer = openEmpty(dir);
  t.teardown(() => layer.close());
  const kept = newInode(layer.allocateIno(), S_IFREG | 0o600);
  writeFile(layer, kept, 0, patternedBytes('kept', 5000));
  layer.putDentry(1, Buffer.from('kept'), layer.allocateCookie(), kept.ino);
  layer.commit('2', Buffer.from('reply 2'));
  const before = { ino: layer.nextIno, cookie: layer.nextCookie };

  const inode = { ...layer.inode(kept.ino)! };
  writeFile(layer, inode, 100, patternedBytes('gone', 200 * KIB));
  layer.truncateData(inode, 10);
  layer.putInode({ ...inode, size: 10 });
  layer.deleteDentry(1, Buffer.from('kept'));
  layer.putXattr(kept.ino, Buffer.from('user.a'), Buffer.from('b'));
  layer.setSymlink(layer.allocateIno(), Buffer.from('target'));
  layer.allocateCookie();
  layer.rollback();

  t.same({ ino: layer.nextIno, cookie: layer.nextCookie }, before);
  t.same(layer.inode(kept.ino), kept);
  t.ok(bytesOf(layer, kept).equals(patternedBytes('kept', 5000)));
  t.equal(layer.dentry(1, Buffer.from('kept'))?.ino, kept.ino);
  t.same(layer.xattrs(kept.ino), []);
  t.equal(layer.symlink(before.ino), undefined);
  t.same(layer.last(), { lastUnique: '2', lastReply: Buffer.from('reply 2') });
});

t.test('the last change and its reply survive reopening', async (t) => {
  const dir = join(t.testdir(), 'layer');
  const layer = openEmpty(dir);
  layer.commit('9007199254740993', Buffer.from([1, 0, 2]));
  layer.close();
  const again = UpperLayer.open(dir, true);
  t.teardown(() => again.close());
  t.same(again.last(), { lastUnique: '9007199254740993', lastReply: Buffer.from([1, 0, 2]) });
});

t.test('a log segment is deleted when nothing refers to it, however that came about', async (t) => {
  const dir = join(t.testdir(), 'layer');
  let layer = openEmpty(dir);
  t.teardown(() => layer.close());
  const segments = (): string[] =>
    readdirSync(dir)
      .filter((name) => name.startsWith('log-'))
      .sort();
  const data = patternedBytes('data', 128 * KIB);
  const fill = (end: 'commit' | 'rollback'): LayerInode[] => {
    const inodes: LayerInode[] = [];
    for (let bytes = 0; bytes < 65 * MIB; bytes += data.length) {
      const inode = newInode(layer.allocateIno(), S_IFREG | 0o600);
      writeFile(layer, inode, 0, data);
      inodes.push(inode);
      if (end === 'commit') layer.commit('', NOTHING);
      else layer.rollback();
    }
    return inodes;
  };
  const remove = (inodes: readonly LayerInode[]): void => {
    for (const inode of inodes) layer.deleteInode(inode);
    layer.commit('', NOTHING);
  };

  const first = fill('commit');
  t.same(segments(), ['log-0', 'log-1'], 'full: another one is begun');
  remove(first.slice(0, -1));
  t.same(segments(), ['log-1'], 'only what the last file is in is left');
  remove(first.slice(-1));
  fill('rollback');
  layer.commit('', NOTHING);
  t.same(segments().length, 1, 'of what was rolled back only the segment being written is there');

  const last = fill('commit');
  layer.close();
  layer = UpperLayer.open(dir, true);
  remove(last);
  t.equal(segments().length, 0, 'counted again after reopening; nothing was written since');
  t.ok(layer.diskBytes() < 70 * MIB);
});

t.test('everything committed is there after a SIGKILL, across seals', async (t) => {
  const program = fileURLToPath(new URL('layer-process.js', import.meta.url));
  for (const enough of [5, 60, 130]) {
    const dir = join(t.testdir(), 'mount');
    LayerSet.create(dir, BASE, { ino: 2, cookie: 3, end: 1_000_000 });
    const child = spawn(process.execPath, [program, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'close');
    let told = -1;
    for await (const line of createInterface({ input: child.stdout })) {
      told = Number(line);
      if (told === enough) child.kill('SIGKILL');
    }
    await ended;
    const layers = LayerSet.open(dir);
    const open = [...layers.state.sealed.map((layer) => layer.id), layers.state.activeId].map((id) =>
      UpperLayer.open(layers.layerDir(id), id === layers.state.activeId),
    );
    let complete = 0;
    for (let index = 0; index <= told; index += 1) {
      const name = Buffer.from(`file ${index}`);
      const layer = open.find((one) => one.dentry(1, name) !== undefined);
      const ino = layer?.dentry(1, name)?.ino;
      const inode = ino === undefined ? undefined : layer?.inode(ino);
      if (layer === undefined || inode === undefined) break;
      if (bytesOf(layer, inode).equals(patternedBytes(index, 3000))) complete += 1;
    }
    t.equal(complete, told + 1, `${told + 1} files were answered`);
    const last = Number(open.at(-1)!.last().lastUnique);
    t.ok(last >= told, 'the last reply is stored');
    t.equal(open.at(-1)!.last().lastReply.toString(), `reply ${last}`);
    for (const layer of open) layer.close();
  }
});

t.test('a seal that stopped half way leaves layers that open, with all that was committed', async (t) => {
  const dir = t.testdir();
  const mount = join(dir, 'mount');
  const layers = LayerSet.create(mount, BASE, { ino: 2, cookie: 3, end: 1_000_000 });
  const active = UpperLayer.open(layers.layerDir(1), true);
  const inode = newInode(active.allocateIno(), S_IFREG | 0o600);
  writeFile(active, inode, 0, Buffer.from('committed'));
  active.commit('2', Buffer.from('reply'));
  const before = join(dir, 'before');
  cpSync(mount, before, { recursive: true });
  const next = layers.seal(active, SEALED);
  next.close();
  active.close();

  const steps: Record<string, (copy: string) => void> = {
    'nothing done': () => undefined,
    'an empty folder for the next layer': (copy) => mkdirSync(join(copy, 'layers', '2')),
    'half a database in it': (copy) => {
      mkdirSync(join(copy, 'layers', '2'));
      const whole = readFileSync(join(mount, 'layers', '2', 'upper.sqlite'));
      writeFileSync(join(copy, 'layers', '2', 'upper.sqlite'), whole.subarray(0, 5000));
    },
    'the next layer complete': (copy) =>
      cpSync(join(mount, 'layers', '2'), join(copy, 'layers', '2'), { recursive: true }),
    'half of the new stack written': (copy) => {
      cpSync(join(mount, 'layers', '2'), join(copy, 'layers', '2'), { recursive: true });
      writeFileSync(join(copy, 'layers.json.new'), readFileSync(join(mount, 'layers.json')).subarray(0, 20));
    },
    'the new stack in place': (copy) => {
      cpSync(join(mount, 'layers', '2'), join(copy, 'layers', '2'), { recursive: true });
      cpSync(join(mount, 'layers.json'), join(copy, 'layers.json.new'));
      renameSync(join(copy, 'layers.json.new'), join(copy, 'layers.json'));
    },
  };
  for (const [step, make] of Object.entries(steps)) {
    const copy = join(dir, step);
    cpSync(before, copy, { recursive: true });
    make(copy);
    LayerSet.recover(copy, LayerSet.read(copy)!);
    const opened = LayerSet.open(copy);
    const { activeId, sealed } = opened.state;
    const holder = UpperLayer.open(opened.layerDir(1), sealed.length === 0);
    t.ok(bytesOf(holder, holder.inode(inode.ino)!).equals(Buffer.from('committed')), step);
    t.same(
      readdirSync(join(copy, 'layers')).sort(),
      sealed.length === 0 ? ['1'] : ['1', '2'],
      'no folder too many',
    );
    const top = activeId === 1 ? holder : UpperLayer.open(opened.layerDir(activeId), true);
    t.same(
      top.last(),
      { lastUnique: '2', lastReply: Buffer.from('reply') },
      'a resent request finds its reply',
    );
    t.equal(top.nextIno, inode.ino + 1);
    const after = opened.seal(top, { ...SEALED, publishId: 'again' });
    t.equal(after.nextIno, inode.ino + 1, 'and it can be sealed');
    for (const layer of new Set([holder, top, after])) layer.close();
  }
});

t.test('a change of the stack that could not be written changes nothing', async (t) => {
  const mount = join(t.testdir(), 'mount');
  const layers = LayerSet.create(mount, BASE, { ino: 2, cookie: 3, end: 1_000_000 });
  const active = UpperLayer.open(layers.layerDir(1), true);
  const next = layers.seal(active, SEALED);
  t.teardown(() => {
    active.close();
    next.close();
  });
  const before = layers.state;
  // In the way of the new file, for root too.
  mkdirSync(join(mount, 'layers.json.new'));
  t.throws(() => layers.adopt({ ...BASE, seq: 2 }, []));
  t.same(layers.state, before);
  t.same(LayerSet.read(mount), before);
  t.ok(existsSync(layers.layerDir(1)), 'the sealed layer is still there');
});
