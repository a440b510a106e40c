import { EMBED_BELOW_DEFAULT_BYTES } from '../../core/index.js';
import { ContentPacker } from '../../snapshot/index.js';
import type { ServiceContext } from '../context.js';
import type { HeldBlocks } from './held-blocks.js';

/**
 * Stores content for a workspace. A small file whose content is somewhere in the store already is still not taken from a block that this workspace does not
 * hold: its readers would get the block, and with it files of others that stand beside.
 */
export function heldPacker(
  { blocks, catalog }: Pick<ServiceContext, 'blocks' | 'catalog'>,
  held: HeldBlocks,
  workspace: string,
): ContentPacker {
  return new ContentPacker({
    blocks,
    workspace,
    embedBelowBytes: EMBED_BELOW_DEFAULT_BYTES,
    catalog: {
      // All of such a block was sent by who stores it.
      knownBlocks: (name, ids) => catalog.knownBlocks(name, ids),
      knownContents: (name, ids) => held.knownContents(catalog, name, ids),
    },
  });
}
