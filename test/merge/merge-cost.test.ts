import { join } from 'node:path';
import t from 'tap';
import { ROOT_INO } from '../../src/core/index.js';
import {
  createManifest,
  createManifestFrom,
  openManifest,
  type ManifestBuilder,
  type ManifestReader,
} from '../../src/manifest/index.js';
import { mergeManifests } from '../../src/merge/index.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { contentIdFor, feedSyntheticTree, syntheticFileIno } from '../manifest/trees.js';

const FILES = 40_000;
const OURS_CHANGED = 10;
const THEIRS_CHANGED = 4000;

/** A reader that counts what it is asked. */
function counting(reader: ManifestReader, count: () => void): ManifestReader {
  return new Proxy(reader, {
    get(target, property): unknown {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        count();
        return Reflect.apply(value, target, args);
      };
    },
  });
}

void t.test(
  'a merge asks for what ours changed, however many files there are, and however many theirs changed',
  async (t) => {
    const dir = scratchFolder(t);
    const basePath = join(dir, 'base');
    const builder = createManifest(basePath);
    feedSyntheticTree(builder, FILES);
    builder.finish();
    const changed = (name: string, change: (builder: ManifestBuilder) => void): ManifestReader => {
      const child = createManifestFrom(basePath, join(dir, name));
      change(child);
      child.finish();
      return openManifest(join(dir, name));
    };
    const setContents = (child: ManifestBuilder, count: number, text: string): void => {
      for (let index = 0; index < count; index++) {
        const ino = syntheticFileIno(index * Math.floor(FILES / count));
        child.setContent(ino, { id: contentIdFor(`${text} ${String(index)}`), extents: [] });
      }
    };
    const base = openManifest(basePath);
    const ours = changed('ours', (child) => {
      setContents(child, OURS_CHANGED, 'mine');
    });
    const theirs = changed('theirs', (child) => {
      setContents(child, THEIRS_CHANGED, 'new');
      child.removeDentry(ROOT_INO, Buffer.from('directory-23'));
      child.putDentry(ROOT_INO, 900_000, Buffer.from('moved'), 23);
      child.setNext(900_001, 900_001);
    });

    let asked = 0;
    const count = (): void => {
      asked += 1;
    };
    const result = createManifestFrom(theirs.path, join(dir, 'result'));
    let next = 1_000_000;
    const report = mergeManifests({
      base: counting(base, count),
      ours: counting(ours, count),
      theirs: counting(theirs, count),
      result,
      numbers: { ino: () => next++, cookie: () => next++ },
      conflictName: (name) => Buffer.concat([name, Buffer.from('~')]),
    });
    const writtenPieces = result.finish();
    for (const reader of [base, ours, theirs]) reader.close();
    t.equal(report.conflicts.length, OURS_CHANGED);
    t.ok(asked < 50 * OURS_CHANGED, `${String(asked)} questions`);
    t.ok(writtenPieces.size < 10 * OURS_CHANGED, `${String(writtenPieces.size)} pieces written`);
  },
);
