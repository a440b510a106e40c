import { blockKey } from '../blocks/index.js';
import { openCatalog, type AuditedVersion } from '../catalog/index.js';
import type { BlockId } from '../core/index.js';
import type { CheckParts } from './check-parts.js';

/** Blocks asked for at a time. */
const PAGE_BLOCKS = 16;

/** The versions to check, as far as the token may read them, as the service tells them. Throws `not-found` for a workspace or a version that is not there. */
export async function versionsOfService({
  catalog: url,
  home,
  only,
}: {
  catalog: string;
  home: string;
  only: { workspace: string; seq?: number; tag?: string } | undefined;
}): Promise<AuditedVersion[]> {
  const catalog = await openCatalog(url, home);
  try {
    if (only?.tag !== undefined) return [await catalog.taggedVersion(only.workspace, only.tag)];
    if (only?.seq !== undefined) return [await catalog.version(only.workspace, only.seq)];
    const names =
      only === undefined ? (await catalog.workspaces()).map(({ name }) => name) : [only.workspace];
    const versions: AuditedVersion[] = [];
    for (const name of names) versions.push(...(await catalog.versions(name, { limit: Infinity })));
    return versions.reverse();
  } finally {
    await catalog.close();
  }
}

/** Notes which of the blocks that the versions need are there, from a store that lists none. */
export async function lookUpNeeded({ objects, scratch, step }: CheckParts): Promise<void> {
  for (let after: BlockId | undefined; ;) {
    const page = scratch.neededPage(after, PAGE_BLOCKS);
    const heads = await Promise.all(page.map(({ id }) => objects.head(blockKey(id))));
    for (const [index, { id }] of page.entries()) {
      const head = heads[index];
      if (head !== undefined) scratch.addObject(id, head.sizeBytes);
      await step();
    }
    after = page.at(-1)?.id;
    if (page.length < PAGE_BLOCKS) return;
  }
}
