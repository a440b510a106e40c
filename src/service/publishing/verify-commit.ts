import { BLOCK_OBJECT_MAX_BYTES, blockKey, type StoredBlock } from '../../blocks/index.js';
import type { ContentRow } from '../../catalog/index.js';
import { PACKED_FILE_MAX_BYTES } from '../../core/index.js';
import { RecentBlocks, type PathChange } from '../../snapshot/index.js';
import { blocksOf } from './commit-changes.js';
import type { ServiceContext } from '../context.js';
import type { HeldBlocks } from './held-blocks.js';
import { takeMissing } from './take-missing.js';
import { HttpProblem } from '../http-problem.js';
import { verifyContent } from './verify-content.js';

/** What a commit brings that the catalog does not know. */
export interface CommittedContent {
  blocks: StoredBlock[];
  contents: ContentRow[];
}

/**
 * Refuses a commit that refers to what its workspace does not hold, or whose contents are not what they are named by: an equal file is referred to later, in
 * whatever workspace, by that name alone. Reads every block of a content that is new.
 */
export async function verifyCommit(
  workspace: string,
  changes: readonly PathChange[],
  { catalog, blocks, objects, staged }: ServiceContext,
  held: HeldBlocks,
): Promise<CommittedContent> {
  const missing = await takeMissing(workspace, [...blocksOf(changes)], held, staged);
  if (missing.length > 0) {
    throw new HttpProblem(409, 'missing-blocks', `${String(missing.length)} blocks are missing`, {
      hint: 'upload what GET of the commit lists as missing',
    });
  }
  const contents = distinctContents(changes);
  // Small files share blocks.
  const recent = new RecentBlocks(blocks);
  for (const row of contents) {
    const { size, extents } = row;
    if (size > PACKED_FILE_MAX_BYTES && extents.some(({ blockOffset }) => blockOffset > 0)) {
      throw unfit(`a chunk of content ${row.id} is not a block of its own`);
    }
    if (!(await verifyContent(row, recent))) throw unfit(`the bytes of content ${row.id} are others`);
  }
  const ids = [...blocksOf(changes)];
  const known = await catalog.knownBlocks(workspace, ids);
  const stored: StoredBlock[] = [];
  for (const id of ids) {
    if (known.has(id)) continue;
    const raw = await recent.get(id);
    const storedBytes = (await objects.head(blockKey(id)))?.sizeBytes ?? BLOCK_OBJECT_MAX_BYTES;
    stored.push({ id, rawBytes: raw.length, storedBytes });
  }
  return { blocks: stored, contents: contents.filter(({ extents }) => extents.length > 0) };
}

/** Once each, however many files have it; twice where it is said to be in two places. */
function distinctContents(changes: readonly PathChange[]): ContentRow[] {
  const contents = new Map<string, ContentRow>();
  for (const change of changes) {
    if (change.kind !== 'put' || change.content.embedded !== undefined) continue;
    const { id, extents } = change.content;
    const row = { id, size: change.size, extents };
    contents.set(JSON.stringify(row), row);
  }
  return [...contents.values()];
}

function unfit(why: string): HttpProblem {
  return new HttpProblem(422, 'unfit', `this commit cannot be finished: ${why}`, {
    hint: 'nothing was published',
  });
}
