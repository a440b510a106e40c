/**
 * A program on a mount that writes down what it does and what it was promised: `node workload.js <mountpoint> <notes> <home> <folder> <seed>
 * <steps>`. `home` is the mount's home folder, whose files it syncs now and then, one by one, as the kernel may at any time; `folder` is for
 * what it imports. Its environment is that of `cairn`, which it calls to make versions and to mount again.
 */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, fallocate } from '../../src/posix/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { randomNumbers } from '../fixtures/random-numbers.js';
import {
  DATABASES,
  importedFiles,
  OTHER_WORKSPACE,
  otherFiles,
  rowBytes,
  WORKSPACE,
  type Note,
} from './notes.js';
import { newFile, TreeModel, type Operation } from './tree-model.js';

const CAIRN = fileURLToPath(new URL('../../../bin/cairn', import.meta.url));
const CAIRN_LIMIT_MS = 60_000;
const MAX_ENTRIES = 90;
const FOLDERS = ['', 'a/', 'b/'];

const [mountpoint = '', notes = '', home = '', folder = '', seed, steps] = process.argv.slice(2);
const random = randomNumbers(Number(seed));
const model = new TreeModel();
let lastSeed = 0;
let generation = 0;

const at = (file: string): string => path.join(mountpoint, file);
const chance = (percent: number): boolean => random(100) < percent;
const pick = <Item>(items: readonly Item[]): Item => {
  const item = items[random(items.length)];
  assert(item !== undefined);
  return item;
};

function note(what: Note): void {
  fs.appendFileSync(notes, `${JSON.stringify(what)}\n`);
}

function cairn(...args: string[]): unknown {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CAIRN, ...args, '--json'], {
    timeout: CAIRN_LIMIT_MS,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  });
  assert.equal(status, 0, `cairn ${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout);
}

function withFile(file: string, flags: string, use: (fd: number) => void): void {
  const fd = fs.openSync(at(file), flags);
  try {
    use(fd);
  } finally {
    fs.closeSync(fd);
  }
}

// Operations.

function run(operation: Operation): void {
  note({ note: 'operation', operation });
  const { path: file } = operation;
  switch (operation.do) {
    case 'mkdir':
      fs.mkdirSync(at(file));
      break;
    case 'create':
      withFile(file, 'wx', () => undefined);
      break;
    case 'unlink':
      fs.unlinkSync(at(file));
      break;
    case 'rename':
      fs.renameSync(at(file), at(operation.to));
      break;
    case 'link':
      fs.linkSync(at(file), at(operation.to));
      break;
    case 'write':
      withFile(file, 'r+', (fd) => {
        const { length, offset } = operation;
        assert.equal(fs.writeSync(fd, patternedBytes(operation.seed, length), 0, length, offset), length);
      });
      break;
    case 'truncate':
      fs.truncateSync(at(file), operation.size);
      break;
    case 'punch':
      withFile(file, 'r+', (fd) => {
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, operation.offset, operation.length);
      });
      break;
  }
  model.apply(operation);
  if (chance(25)) writeBackSomething();
}

function write(file: string, offset: number, length: number): void {
  run({ do: 'write', path: file, offset, length, seed: ++lastSeed });
}

function sync(file: string): void {
  withFile(file, 'r+', (fd) => {
    if (chance(50)) fs.fsyncSync(fd);
    else fs.fdatasyncSync(fd);
  });
  model.synced(file);
  note({ note: 'synced', path: file });
}

function syncFolder(name: string): void {
  withFile(name, 'r', (fd) => {
    fs.fsyncSync(fd);
  });
  note({ note: 'synced' });
}

/** Any file of the layers may be on the disk before any other. */
function writeBackSomething(): void {
  const mounts = path.join(home, 'mounts');
  const files = fs
    .readdirSync(mounts, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\/layers\/\d+\/(log-|data\/|journal-|upper\.sqlite)/.test(name));
  const fd = fs.openSync(path.join(mounts, pick(files)), 'r');
  fs.fdatasyncSync(fd);
  fs.closeSync(fd);
}

// What programs do.

function files(): string[] {
  return [...model.entries].filter(([, entry]) => entry !== 'directory').map(([file]) => file);
}

function newName(): string {
  return `${pick(FOLDERS)}file-${String(++lastSeed)}`;
}

function makeRoom(): void {
  while (model.entries.size > MAX_ENTRIES) run({ do: 'unlink', path: pick(files()) });
}

function create(): string {
  makeRoom();
  const file = newName();
  run({ do: 'create', path: file });
  return file;
}

function smallFile(): void {
  const file = create();
  let length = 0;
  for (let writes = 1 + random(4); writes > 0; writes--) {
    const part = 1 + random(9_000);
    write(file, length, part);
    length += part;
  }
  if (chance(50)) sync(file);
  if (chance(10)) syncFolder(path.dirname(file));
}

function largeFile(): void {
  const file = create();
  const length = 130_000 + random(200_000);
  for (let offset = 0; offset < length; offset += 64_000)
    write(file, offset, Math.min(64_000, length - offset));
  if (chance(60)) sync(file);
}

function append(): void {
  const file = pick(files());
  write(file, model.bytesOf(file).length, 1 + random(5_000));
  if (chance(40)) sync(file);
}

function overwrite(): void {
  const file = pick(files());
  const size = model.bytesOf(file).length;
  for (let writes = 1 + random(3); writes > 0; writes--) write(file, random(size + 1), 1 + random(6_000));
  if (chance(40)) sync(file);
}

function editorSave(): void {
  const file = pick(files());
  const next = `${path.dirname(file)}/.next-${String(++lastSeed)}`;
  run({ do: 'create', path: path.normalize(next) });
  write(path.normalize(next), 0, 1 + random(20_000));
  if (chance(80)) sync(path.normalize(next));
  run({ do: 'rename', path: path.normalize(next), to: file });
  if (chance(80)) syncFolder(path.dirname(file));
}

function rewrite(): void {
  const file = pick(files());
  run({ do: 'truncate', path: file, size: 0 });
  write(file, 0, 1 + random(20_000));
  if (chance(40)) sync(file);
}

function cut(): void {
  const file = pick(files());
  const size = model.bytesOf(file).length;
  run({ do: 'truncate', path: file, size: random(size + 3_000) });
  if (chance(30)) sync(file);
}

function punch(): void {
  const file = pick(files());
  const size = model.bytesOf(file).length;
  if (size === 0) return;
  run({ do: 'punch', path: file, offset: random(size), length: 1 + random(40_000) });
  if (chance(30)) sync(file);
}

function otherName(): void {
  const file = pick(files());
  run({ do: chance(70) ? 'rename' : 'link', path: file, to: newName() });
  if (chance(20)) syncFolder('');
}

function remove(): void {
  run({ do: 'unlink', path: pick(files()) });
  if (chance(20)) syncFolder('');
}

function read(): void {
  const file = pick(files());
  assert(fs.readFileSync(at(file)).equals(model.bytesOf(file)), `${file} is as it was written`);
}

// Databases, which sync by themselves.

class RowWriter {
  readonly #name: string;
  readonly #mode: string;
  #database: Database.Database | undefined;
  #rows = 0;

  constructor(name: string, mode: string) {
    this.#name = name;
    this.#mode = mode;
  }

  commit(): void {
    const database = (this.#database ??= this.#open());
    this.#rows += 1;
    database.prepare('INSERT INTO entry VALUES (?, ?)').run(this.#rows, rowBytes(this.#rows));
    note({ note: 'rows', database: this.#name, rows: this.#rows });
  }

  close(): void {
    this.#database?.close();
    this.#database = undefined;
  }

  #open(): Database.Database {
    const database = new Database(at(`${DATABASES}/${this.#name}`));
    database.pragma(`journal_mode = ${this.#mode}`);
    // With DELETE, FULL does not sync the folder: the last commit may be taken back.
    database.pragma(`synchronous = ${this.#mode === 'DELETE' ? 'EXTRA' : 'FULL'}`);
    database.pragma('wal_autocheckpoint = 30');
    database.exec('CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, bytes BLOB)');
    return database;
  }
}

const databases = [
  new RowWriter('wal', 'WAL'),
  new RowWriter('rollback', pick(['DELETE', 'TRUNCATE', 'PERSIST'])),
];

function commitRows(): void {
  const database = pick(databases);
  for (let count = 1 + random(4); count > 0; count--) database.commit();
}

// The product's own.

function snapshot(): void {
  const { seq, created } = cairn('snapshot', mountpoint) as { seq: number; created: boolean };
  if (created) note({ note: 'version', seq });
}

function remount(): void {
  for (const database of databases) database.close();
  cairn('unmount', mountpoint);
  cairn('mount', WORKSPACE, mountpoint);
}

function importOther(): void {
  generation += 1;
  fs.mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of otherFiles(generation)) fs.writeFileSync(path.join(folder, name), bytes);
  const { version } = cairn('import', folder, '--workspace', OTHER_WORKSPACE) as { version: { seq: number } };
  const { seq } = version;
  note({ note: 'imported', seq, generation });
}

const STEPS: readonly (readonly [weight: number, step: () => void])[] = [
  [16, smallFile],
  [3, largeFile],
  [10, append],
  [12, overwrite],
  [10, editorSave],
  [8, rewrite],
  [5, cut],
  [5, punch],
  [7, otherName],
  [8, remove],
  [6, read],
  [8, commitRows],
  [2, snapshot],
  [1, remount],
  [1, importOther],
];
const DECK = STEPS.flatMap(([weight, step]) => Array.from({ length: weight }, () => step));

for (const [name, bytes] of importedFiles()) model.entries.set(name, newFile(bytes, 0));
note({ note: 'begun' });
for (const name of [DATABASES, 'a', 'b']) run({ do: 'mkdir', path: name });
for (let step = 0; step < Number(steps); step++) pick(DECK)();
for (const database of databases) database.close();
