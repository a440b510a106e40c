import type { FileRow } from '../../catalog/index.js';
import { CairnError, type BlockId } from '../../core/index.js';
import { resolvePath, type ManifestReader } from '../../manifest/index.js';
import type { ServiceContext } from '../context.js';
import type { HeldBlocks } from './held-blocks.js';
import { HttpProblem } from '../http-problem.js';
import { takeMissing } from './take-missing.js';
import type { ReceivedPublication } from './received-publication.js';
import { verifyContent } from './verify-content.js';

const IDS_TOLD = 3;

/**
 * Refuses a version that refers to what its workspace neither holds nor had uploaded, whose manifest is none, or whose rows say something else than its
 * manifest and its blocks. Returns the blocks that come with it.
 *
 * Throws `conflict` at once when the parent is not the head: the catalog would refuse it after all this work. Else what does not fit is 422.
 */
export async function verifyPublication(
  publication: ReceivedPublication,
  { catalog, blockAccess, blocks, staged }: ServiceContext,
  held: HeldBlocks,
): Promise<Set<BlockId>> {
  const { workspace, root, parentSeq } = publication;
  const { headSeq } = await catalog.workspace(workspace);
  if (headSeq !== parentSeq) {
    throw new CairnError(
      'conflict',
      `workspace "${workspace}" is at version ${String(headSeq)}, not at ${String(parentSeq)}`,
      { hint: 'someone else has published; nothing was changed' },
    );
  }
  const requireHeld = async (ids: Iterable<BlockId>): Promise<void> => {
    const missing = await takeMissing(workspace, [...ids], held, staged);
    if (missing.length > 0) throw notUploaded(missing);
  };
  if (!(await blockAccess.holdsManifest(workspace, root)))
    throw new HttpProblem(422, 'not-uploaded', `manifest ${root} was not uploaded for "${workspace}"`);

  const parent = parentSeq === 0 ? undefined : await catalog.version(workspace, parentSeq);
  const parentBlocks = parent === undefined ? new Set<BlockId>() : await held.blocksOf(parent.root);
  const added = new Set(publication.blocks.map(({ id }) => id));
  for (const id of await asRefusal(() => held.indexBlocks(root))) if (!parentBlocks.has(id)) added.add(id);
  await requireHeld(added);
  await asRefusal(() =>
    held.withManifest(root, async (manifest) => {
      const needed = new Set<BlockId>();
      for (const id of manifest.blocks()) if (!parentBlocks.has(id)) needed.add(id);
      await requireHeld(needed);
      for (const id of needed) added.add(id);
      for (const row of publication.added) requireRow(manifest, row);
    }),
  );
  for (const content of publication.contents) {
    await requireHeld(new Set(content.extents.map(({ block }) => block)));
    if (!(await verifyContent(content, blocks))) throw unfit(`the bytes of content ${content.id} are others`);
  }
  return added;
}

/** A row that says something else than the manifest would show, or open, something else. */
function requireRow(manifest: ManifestReader, row: FileRow): void {
  const ino = resolvePath(manifest, row.path);
  const inode = ino === undefined ? undefined : manifest.inode(ino);
  const fits =
    inode?.size === row.size && inode.mode === row.mode && manifest.content(inode.ino) === row.hash;
  if (!fits) throw unfit(`its rows are not those of manifest ${manifest.path}`);
}

/** What does not verify is the fault of who sent it, not of the service. */
async function asRefusal<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CairnError && error.code === 'corrupt') throw unfit(error.message);
    throw error;
  }
}

function unfit(why: string): HttpProblem {
  return new HttpProblem(422, 'unfit', `this version cannot be published: ${why}`, {
    hint: 'nothing was published',
  });
}

function notUploaded(ids: readonly BlockId[]): HttpProblem {
  const more = ids.length > IDS_TOLD ? ` and ${String(ids.length - IDS_TOLD)} more` : '';
  return new HttpProblem(
    422,
    'not-uploaded',
    `not uploaded for this workspace: ${ids.slice(0, IDS_TOLD).join(', ')}${more}`,
    { hint: 'put them under /v1/blocks first' },
  );
}
