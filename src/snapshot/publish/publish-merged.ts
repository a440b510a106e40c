import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Version } from '../../catalog/index.js';
import { CairnError, NAME_MAX_BYTES } from '../../core/index.js';
import {
  changeManifest,
  fetchManifest,
  localManifestPath,
  openManifest,
  publishManifest,
  type ManifestReader,
} from '../../manifest/index.js';
import { mergeManifests, type MergeConflict, type MergeReport } from '../../merge/index.js';
import type { PublishOptions } from './publish-options.js';
import { numbersFrom } from './numbers-from.js';
import { publicationOf, publishVersion } from './publish-version.js';
import type { StoredLayer } from './stored-layer.js';

/** How often somebody else may publish while a merge is made. */
const ATTEMPTS = 10;

export interface MergedVersion {
  version: Version;
  conflicts: readonly MergeConflict[];
}

/**
 * Merges a stored layer with the head into the version after that, and with what somebody else publishes meanwhile, too. The same order as
 * ever: what the version refers to is stored before it is there (law 1), and it follows the head or is not (law 7).
 *
 * Throws `conflict` when the trees cannot be merged, or when others publish all the time.
 */
export async function publishMerged(
  stored: StoredLayer,
  head: Version,
  options: PublishOptions,
): Promise<MergedVersion> {
  let theirs = head;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await mergeWith(theirs, stored, options);
    } catch (error) {
      theirs = await options.catalog.version(head.workspace);
      const isOvertaken = theirs.seq !== head.seq && error instanceof CairnError && error.code === 'conflict';
      if (!isOvertaken || attempt === ATTEMPTS) throw error;
    }
  }
}

async function mergeWith(
  head: Version,
  stored: StoredLayer,
  options: PublishOptions,
): Promise<MergedVersion> {
  const { base, catalog, blocks, objects, manifestDir } = options;
  await fetchManifest({ root: head.root, dir: manifestDir, blocks, objects });
  const open: ManifestReader[] = [];
  const opened = (root: Version['root']): ManifestReader => {
    const reader = openManifest(localManifestPath(manifestDir, root));
    open.push(reader);
    return reader;
  };
  const draft = path.join(manifestDir, `${randomUUID()}.tmp`);
  try {
    const trees = { base: opened(base.root), ours: opened(stored.step.to), theirs: opened(head.root) };
    const inUse = Math.max(...open.flatMap((reader) => [reader.nextIno, reader.nextCookie]));
    const firstNumber = await catalog.reserveNumbers(base.workspace, inUse);
    await copyFile(trees.theirs.path, draft, constants.COPYFILE_FICLONE);
    const { report, writtenPieces } = merge(draft, trees, firstNumber, head.seq);
    const manifest = await publishManifest({
      path: draft,
      dir: manifestDir,
      parent: { root: head.root, writtenPieces },
      blocks,
      objects,
    });
    const version = await publishVersion(
      {
        ...publicationOf(options),
        parent: head,
        root: manifest.root,
        blocks: [...stored.blocks, ...manifest.newBlocks],
        contents: stored.contents,
        touched: report.touched,
      },
      options,
    );
    return { version, conflicts: report.conflicts };
  } finally {
    for (const reader of open) reader.close();
    await rm(draft, { force: true });
  }
}

/** Changes the copy of theirs at `path` into the merged manifest. */
function merge(
  path: string,
  trees: { base: ManifestReader; ours: ManifestReader; theirs: ManifestReader },
  firstNumber: number,
  headSeq: number,
): { report: MergeReport; writtenPieces: ReadonlySet<number> } {
  const result = changeManifest(path);
  try {
    const report = mergeManifests({
      ...trees,
      result,
      numbers: numbersFrom(firstNumber),
      conflictName: (name, attempt) => conflictName(name, headSeq, attempt),
    });
    return { report, writtenPieces: result.finish() };
  } catch (error) {
    result.abandon();
    throw error;
  }
}

/** `notes.txt (conflict @12)`: what version 12 has under a name that was wanted twice. */
function conflictName(name: Buffer, seq: number, attempt: number): Buffer {
  const suffix = Buffer.from(` (conflict @${String(seq)}${attempt === 0 ? '' : ` ${String(attempt + 1)}`})`);
  return Buffer.concat([name.subarray(0, NAME_MAX_BYTES - suffix.length), suffix]);
}
