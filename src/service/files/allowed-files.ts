import type { Catalog, FileChange, FileRow } from '../../catalog/index.js';
import { joinPath } from '../../core/index.js';
import type { Access } from '../../wire/index.js';

interface Page {
  prefix: Buffer;
  after: Buffer;
  limit: number;
}

/** As `Catalog.files`, of the paths the token opens. */
export async function allowedFiles(
  catalog: Catalog,
  access: Access,
  { workspace, seq }: { workspace: string; seq: number },
  { prefix, after, limit }: Page,
): Promise<FileRow[]> {
  const { path } = access;
  if (path === undefined) return [];
  if (path.length === 0) return await catalog.files(workspace, seq, { prefix, after, limit });
  const rows: FileRow[] = [];
  if (beginsWith(path, prefix) && Buffer.compare(path, after) > 0) {
    const row = await catalog.file(workspace, seq, path);
    if (row !== undefined) rows.push(row);
  }
  const below = joinPath(path, Buffer.alloc(0));
  const narrower = beginsWith(prefix, below) ? prefix : beginsWith(below, prefix) ? below : undefined;
  if (narrower === undefined || rows.length === limit) return rows;
  rows.push(
    ...(await catalog.files(workspace, seq, { prefix: narrower, after, limit: limit - rows.length })),
  );
  return rows;
}

/** As a page of `Catalog.changes`, of the paths the token opens. */
export async function allowedChanges(
  catalog: Catalog,
  access: Access,
  { workspace, fromSeq, toSeq }: { workspace: string; fromSeq: number; toSeq: number },
  { after, limit }: Omit<Page, 'prefix'>,
): Promise<FileChange[]> {
  for (let from = after; ;) {
    const page = await catalog.changes(workspace, fromSeq, toSeq, { after: from, limit });
    const last = page.at(-1);
    const allowed = page.filter(({ path }) => access.allowsPath(path));
    if (last === undefined || allowed.length > 0) return allowed;
    from = last.path;
  }
}

function beginsWith(bytes: Buffer, prefix: Buffer): boolean {
  return bytes.length >= prefix.length && bytes.subarray(0, prefix.length).equals(prefix);
}
