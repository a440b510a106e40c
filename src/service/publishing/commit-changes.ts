import {
  bytesOfJsonPath,
  CairnError,
  contentIdOf,
  type BlockId,
  type ContentId,
  type Extent,
} from '../../core/index.js';
import { sha256 } from '../../blocks/index.js';
import type { FileContent } from '../../manifest/index.js';
import type { ContentPacker, EntryAttributes, PathChange } from '../../snapshot/index.js';
import type { CommitChange } from '../../wire/index.js';
import { HttpProblem } from '../http-problem.js';

type Content = Extract<CommitChange, { kind: 'put' }>['content'];

/**
 * The changes as the catalog keeps them: what was sent with them is stored, and they say where; `sent` are the blocks it is in. Throws `usage` for what can
 * never be a version's.
 */
export async function storedChanges(
  changes: readonly CommitChange[],
  packer: ContentPacker,
): Promise<{ stored: PathChange[]; sent: Set<BlockId> }> {
  const inline: PathChange[] = [];
  const stored: PathChange[] = [];
  for (const change of changes) {
    const path = pathOf(change);
    switch (change.kind) {
      case 'put': {
        const put = await putOf(path, change.content, attributesOf(change), packer);
        stored.push(put);
        if ('bytes' in change.content) inline.push(put);
        break;
      }
      case 'symlink': {
        const { target, targetBase64 } = change;
        if ((target === undefined) === (targetBase64 === undefined)) {
          throw invalid('a symbolic link has either target or targetBase64');
        }
        const bytes = target === undefined ? Buffer.from(targetBase64 ?? '', 'base64') : Buffer.from(target);
        stored.push({ kind: 'symlink', path, target: bytes, ...attributesOf(change) });
        break;
      }
      case 'mkdir':
      case 'set':
        stored.push({ kind: change.kind, path, ...attributesOf(change) });
        break;
      case 'delete':
        stored.push({ kind: 'delete', path });
        break;
    }
  }
  await packer.finish();
  await packer.stored();
  return { stored, sent: blocksOf(inline) };
}

async function putOf(
  path: Buffer,
  content: Content,
  attributes: EntryAttributes,
  packer: ContentPacker,
): Promise<PathChange> {
  if (!('bytes' in content)) {
    const { hash, size } = content;
    return {
      kind: 'put',
      path,
      size,
      content: { id: hash as ContentId, extents: extentsOf(content) },
      ...attributes,
    };
  }
  const bytes = Buffer.from(content.bytes, 'base64');
  const id = contentIdOf(sha256(bytes));
  if (content.hash !== undefined && content.hash !== id) {
    throw new HttpProblem(422, 'unfit', `the bytes that were sent hash to ${id}, not to ${content.hash}`);
  }
  const put: PathChange & { kind: 'put' } = {
    kind: 'put',
    path,
    size: bytes.length,
    content: { id, extents: [] },
    ...attributes,
  };
  await packer.addSmall(bytes, (placed: FileContent) => {
    put.content = placed;
  });
  return put;
}

function extentsOf({ size, chunks }: Exclude<Content, { bytes: string }>): Extent[] {
  const extents: Extent[] = [];
  let offset = 0;
  for (const { block, length, at } of chunks) {
    if (block !== undefined) extents.push({ offset, length, block: block as BlockId, blockOffset: at });
    offset += length;
  }
  if (offset !== size)
    throw invalid(`the chunks of a file have ${String(offset)} bytes, not ${String(size)}`);
  return extents;
}

function pathOf({ path, pathBase64 }: CommitChange): Buffer {
  if (path !== undefined && pathBase64 === undefined) return bytesOfJsonPath({ path });
  if (path === undefined && pathBase64 !== undefined) return bytesOfJsonPath({ pathBase64 });
  throw invalid('a change has either path or pathBase64');
}

function attributesOf({ mode, uid, gid, mtime }: Exclude<CommitChange, { kind: 'delete' }>): EntryAttributes {
  return {
    ...(mode !== undefined && { mode }),
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
    ...(mtime !== undefined && { mtime }),
  };
}

function invalid(why: string): CairnError {
  return new CairnError('usage', `the request is not valid: ${why}`, { hint: 'see /docs' });
}

/** Bytes as text of one character each. */
const textOf = (bytes: Buffer): string => bytes.toString('latin1');
const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');

/** A change with text instead of bytes. */
type KeptChange<Change = PathChange> = Change extends PathChange
  ? {
      [Field in keyof Change]: Change[Field] extends Buffer
        ? string
        : Field extends 'content'
          ? Omit<FileContent, 'embedded'> & { embedded?: string }
          : Change[Field];
    }
  : never;

/** As the catalog keeps them. */
export function encodeChanges(changes: readonly PathChange[]): Buffer {
  const kept = changes.map((change): KeptChange => {
    const path = textOf(change.path);
    if (change.kind === 'symlink') return { ...change, path, target: textOf(change.target) };
    if (change.kind !== 'put') return { ...change, path };
    const { embedded, ...content } = change.content;
    return {
      ...change,
      path,
      content: { ...content, ...(embedded !== undefined && { embedded: textOf(embedded) }) },
    };
  });
  return Buffer.from(JSON.stringify(kept));
}

/** What `encodeChanges` made. */
export function decodeChanges(bytes: Buffer): PathChange[] {
  const kept = JSON.parse(bytes.toString()) as KeptChange[];
  return kept.map((change): PathChange => {
    const path = bytesOf(change.path);
    if (change.kind === 'symlink') return { ...change, path, target: bytesOf(change.target) };
    if (change.kind !== 'put') return { ...change, path };
    const { embedded, ...content } = change.content;
    return {
      ...change,
      path,
      content: { ...content, ...(embedded !== undefined && { embedded: bytesOf(embedded) }) },
    };
  });
}

/** Blocks that changes refer to. */
export function blocksOf(changes: readonly PathChange[]): Set<BlockId> {
  const blocks = new Set<BlockId>();
  for (const change of changes) {
    if (change.kind !== 'put') continue;
    for (const { block } of change.content.extents) blocks.add(block);
  }
  return blocks;
}
