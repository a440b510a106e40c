import type { BlockId } from '../../core/index.js';
import type { HeldBlocks } from './held-blocks.js';
import type { StagedBlocks } from './staged-blocks.js';

/** Has what the workspace's clients have put into the store themselves taken over, of what it does not hold. Returns what is missing then. */
export async function takeMissing(
  workspace: string,
  ids: readonly BlockId[],
  held: HeldBlocks,
  staged: StagedBlocks,
): Promise<BlockId[]> {
  const missing = await held.missing(workspace, ids);
  if (missing.length === 0) return [];
  await staged.take(workspace, missing);
  return await held.missing(workspace, missing);
}
