import type { Catalog, Version } from '../../catalog/index.js';
import { CairnError } from '../../core/index.js';

/** Others may publish meanwhile; who did not say on what to restore means whatever the head is. */
const ATTEMPTS = 5;

/**
 * Makes the files of a version those of a new head. A head that has them already stays. With one `key` it is done once.
 * @throws CairnError `conflict` when the head is not `base`, or moves too often.
 */
export async function restoreVersion(
  catalog: Catalog,
  version: Version,
  request: { key: string; base?: number | undefined; message?: string | undefined; author: string },
): Promise<Version> {
  const { workspace } = version;
  const publishId = `restore ${request.key}`;
  for (let attempt = 1; ; attempt += 1) {
    const done = await catalog.published(workspace, publishId);
    if (done !== undefined) return done;
    const head = await catalog.version(workspace);
    if (request.base !== undefined && head.seq !== request.base) {
      throw new CairnError(
        'conflict',
        `workspace "${workspace}" is at version ${String(head.seq)}, not at ${String(request.base)}`,
        { hint: 'someone else has published; nothing was changed' },
      );
    }
    if (head.root === version.root) return head;
    const changes = await catalog.changes(workspace, head.seq, version.seq);
    try {
      return await catalog.publish({
        workspace,
        parentSeq: head.seq,
        root: version.root,
        author: request.author,
        message: request.message ?? `restore of @${String(version.seq)}`,
        publishId,
        createdAtMs: Date.now(),
        files: version.files,
        bytes: version.bytes,
        blocks: [],
        contents: [],
        removed: changes.flatMap(({ path, before }) => (before === undefined ? [] : [path])),
        added: changes.flatMap(({ after }) => (after === undefined ? [] : [after])),
      });
    } catch (error) {
      const isOvertaken = error instanceof CairnError && error.code === 'conflict';
      if (!isOvertaken || request.base !== undefined || attempt === ATTEMPTS) throw error;
    }
  }
}
