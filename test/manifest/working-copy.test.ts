import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  fetchManifest,
  openManifest,
  WorkingCopy,
  type ManifestStep,
  type PublishedManifest,
} from '../../src/manifest/index.js';
import { isOpenElsewhere } from '../../src/posix/index.js';
import { Machines, publishChanges, publishFiles, type Machine } from './machines.js';
import { dump } from './tree-model.js';

const FILES = 20_000;

function workingCopy(machine: Machine, fetched: string[] = []): WorkingCopy {
  return new WorkingCopy({
    dir: machine.dir,
    name: 'mount',
    fetch: async (root) => {
      fetched.push(root);
      return await fetchManifest({ ...machine, root });
    },
    isOpenElsewhere,
  });
}

async function setUp(t: Test): Promise<{ machines: Machines; machine: Machine; first: PublishedManifest }> {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const machine = await machines.add();
  return { machines, machine, first: await publishFiles(machine, FILES) };
}

/** The next version, made in the working copy; `renew` or `prepare` is the caller's. */
async function publishInCopy(
  machine: Machine,
  copy: WorkingCopy,
  parent: PublishedManifest,
  changed: readonly number[],
): Promise<{ child: PublishedManifest; step: ManifestStep }> {
  const { writtenPieces, ...child } = await publishChanges(
    machine,
    parent,
    changed,
    await copy.take(parent.root),
  );
  return { child, step: { from: parent.root, to: child.root, writtenPieces } };
}

const changedBy = (version: number): number[] =>
  Array.from({ length: 9 }, (_, index) => (version * 977 + index * 2_111) % FILES);

void t.test('M-9: versions made in a renewed copy are those made in copies of their parents', async (t) => {
  const { machines, machine, first } = await setUp(t);
  const fetched: string[] = [];
  const copy = workingCopy(machine, fetched);
  let ours = first;
  let theirs = first;
  for (let version = 2; version <= 12; version++) {
    theirs = await publishChanges(machine, theirs, changedBy(version));
    const { child, step } = await publishInCopy(machine, copy, ours, changedBy(version));
    t.equal(child.root, theirs.root);
    copy.renew(step);
    ours = child;
  }
  t.same(fetched, [first.root], 'only the first was copied');

  const gets = machine.objects.counters.requests.get;
  t.equal(await fetchManifest({ ...machine, root: ours.root }), ours.path);
  t.equal(machine.objects.counters.requests.get, gets, 'the hashes noted are those of the file');
  const other = await machines.add();
  t.ok(readFileSync(await fetchManifest({ ...other, root: ours.root })).equals(readFileSync(ours.path)));
  await copy.close();
  t.same(
    readdirSync(machine.dir).filter((name) => name.includes('working')),
    [],
  );
});

void t.test('whoever reads the version that was replaced goes on reading it', async (t) => {
  const { machine, first } = await setUp(t);
  const copy = workingCopy(machine);
  const reader = openManifest(first.path);
  t.teardown(() => {
    reader.close();
  });
  const rows = dump(reader);
  const { child, step } = await publishInCopy(machine, copy, first, changedBy(2));
  copy.renew(step);
  t.ok(readFileSync(await copy.take(child.root)).equals(readFileSync(child.path)));
  t.same(dump(reader), rows);
  await copy.close();
});

void t.test('what is not certain to be a copy is thrown away', async (t) => {
  const { machine, first } = await setUp(t);
  const original = readFileSync(first.path);
  const left = join(machine.dir, 'mount.working');
  writeFileSync(left, original.subarray(0, 8192));
  writeFileSync(`${left}-wal`, 'of a process that died');
  const copy = workingCopy(machine);
  copy.prepare(first.root);
  const path = await copy.take(first.root);
  t.ok(readFileSync(path).equals(original), 'left by another process');
  t.notOk(readdirSync(machine.dir).includes('mount.working-wal'));

  writeFileSync(path, 'changed, but never published');
  t.ok(readFileSync(await copy.take(first.root)).equals(original), 'changed by whoever took it');

  await copy.close();
});

void t.test('why there is no copy is said when it is wanted, not before', async (t) => {
  const { machine, first } = await setUp(t);
  const problem = new Error('the store is out of reach');
  const copy = new WorkingCopy({
    dir: machine.dir,
    name: 'mount',
    fetch: () => Promise.reject(problem),
    isOpenElsewhere,
  });
  copy.prepare(first.root);
  await t.rejects(copy.take(first.root), problem);
  await copy.close();
});
