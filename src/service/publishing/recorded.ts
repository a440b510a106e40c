import type { Version } from '../../catalog/index.js';
import type { PublishedChanges } from '../../snapshot/index.js';
import type { HeldBlocks } from './held-blocks.js';

/**
 * What a client is told of a version made here. Which blocks it has brought is written down while that is known: else its whole manifest would be read for it.
 */
export async function recorded(
  held: HeldBlocks,
  { version, created, blocks }: PublishedChanges,
): Promise<{ version: Version; created: boolean }> {
  if (created) await held.record(version.workspace, { seq: version.seq, blocks });
  return { version, created };
}
