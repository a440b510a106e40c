import { ChunkListHasher, sha256, zeroBlockId } from '../blocks/index.js';
import type { AuditedVersion } from '../catalog/index.js';
import {
  BLOCK_MAX_BYTES,
  CairnError,
  isRegular,
  messageOf,
  PACKED_FILE_MAX_BYTES,
  ROOT_INO,
  WHOLE_HASH_MAX_BYTES,
  type Extent,
  type InodeAttributes,
} from '../core/index.js';
import {
  checkManifest,
  encodeIndex,
  manifestKey,
  walk,
  type ManifestIndex,
  type ManifestReader,
} from '../manifest/index.js';
import { PathCheck, rowOf } from './check-catalog.js';
import { nameOf, type CheckParts } from './check-parts.js';

/** Places of one manifest that break a rule, as far as they are told one by one. */
const VIOLATIONS_TOLD = 20;

/** Each version: its index object, its manifest, and that the catalog's paths are the manifest's. Notes the blocks it needs. */
export async function checkVersions(parts: CheckParts): Promise<void> {
  const paths = new PathCheck(parts);
  for (const version of parts.versions) {
    const index = await checkIndex(parts, version);
    if (index === undefined) continue;
    for (const { block, blockOffset, length } of index.runs)
      parts.scratch.need(block, blockOffset + length, 'manifest');
    try {
      await parts.shelf.with(version.root, (manifest) => checkTree(parts, version, manifest, paths));
    } catch (error) {
      rethrowUnlessCorrupt(error);
      await parts.reporter.found({
        place: 'version',
        what: `the manifest of ${nameOf(version)} cannot be read: ${messageOf(error)}`,
        versions: [nameOf(version)],
        advice:
          'without it no path of the version can be read; a home that has mounted the version may have a copy',
      });
    }
  }
}

/** A store that cannot be asked says nothing of what it holds. */
export function rethrowUnlessCorrupt(error: unknown): void {
  if (error instanceof CairnError && (error.code === 'corrupt' || error.code === 'not-found')) return;
  throw error;
}

async function checkIndex(parts: CheckParts, version: AuditedVersion): Promise<ManifestIndex | undefined> {
  const { root } = version;
  try {
    return await parts.shelf.storedIndex(root);
  } catch (error) {
    rethrowUnlessCorrupt(error);
    const local = await parts.shelf.localIndex(root);
    await parts.reporter.found(
      {
        place: 'store',
        what: `index object of ${nameOf(version)}: ${messageOf(error)}`,
        versions: [nameOf(version)],
        advice:
          local === undefined
            ? 'without it the version cannot be read; run cairn fsck --repair with a home that has mounted it'
            : 'cairn fsck --repair puts the copy of this home in its place',
      },
      local &&
        (async () => {
          await parts.objects.put(manifestKey(root), encodeIndex(local));
          return true;
        }),
    );
    return local;
  }
}

async function checkTree(
  parts: CheckParts,
  version: AuditedVersion,
  manifest: ManifestReader,
  paths: PathCheck,
): Promise<void> {
  let told = 0;
  for (const { rule, what } of checkManifest(manifest)) {
    told += 1;
    if (told > VIOLATIONS_TOLD) break;
    await broken(parts, version, `breaks ${rule}: ${what}`);
  }
  if (manifest.counters.files !== version.files || manifest.counters.bytes !== version.bytes)
    await broken(parts, version, 'counts other files or bytes than the catalog');
  const comparison = paths.begin(version);
  for (const { path, inode } of walk(manifest, ROOT_INO)) {
    await parts.step();
    comparison?.compare(rowOf(manifest, path, inode));
    if (isRegular(inode.mode)) await checkFile(parts, version, manifest, path, inode);
  }
  await comparison?.end();
}

async function broken(
  { reporter }: CheckParts,
  version: AuditedVersion,
  what: string,
  paths: Buffer[] = [],
): Promise<void> {
  await reporter.found({
    place: 'version',
    what: `the manifest of ${nameOf(version)} ${what}`,
    versions: [nameOf(version)],
    paths,
    advice:
      'it was stored like this: a version never changes; go on from another version, or import its tree again',
  });
}

/** Notes the blocks of a file, and holds its content id against what is at hand. */
async function checkFile(
  parts: CheckParts,
  version: AuditedVersion,
  manifest: ManifestReader,
  path: Buffer,
  { ino, size }: InodeAttributes,
): Promise<void> {
  const id = manifest.content(ino);
  if (id === undefined) return;
  const embedded = manifest.embedded(ino);
  const extents = embedded === undefined ? manifest.extents(ino, 0, size) : [];
  for (const { block, blockOffset, length } of extents)
    parts.scratch.need(block, blockOffset + length, 'file');
  const [only, ...more] = extents;
  if (only !== undefined && more.length === 0 && only.length === size && size <= WHOLE_HASH_MAX_BYTES) {
    parts.scratch.addPart(only.block, { id, offset: only.blockOffset, length: size });
    return;
  }
  const expected =
    embedded !== undefined
      ? sha256(embedded).toString('hex')
      : size > WHOLE_HASH_MAX_BYTES
        ? chunkListId(extents, size)
        : extents.length === 0 && size <= PACKED_FILE_MAX_BYTES
          ? sha256(Buffer.alloc(size)).toString('hex')
          : id;
  if (expected !== id) await broken(parts, version, 'has a file whose bytes are not its content', [path]);
}

/** FORMAT.md C-2: what no extent covers are chunks of zeros, each as long as a chunk can be, but for the last of the file. */
function chunkListId(extents: readonly Extent[], size: number): string {
  const hasher = new ChunkListHasher();
  let at = 0;
  const zerosTo = (end: number): void => {
    for (; at < end; at += BLOCK_MAX_BYTES) {
      const length = Math.min(BLOCK_MAX_BYTES, end - at);
      hasher.add(length, zeroBlockId(length));
    }
    at = end;
  };
  for (const { offset, length, block } of extents) {
    zerosTo(offset);
    hasher.add(length, block);
    at = offset + length;
  }
  zerosTo(size);
  return hasher.digest();
}
