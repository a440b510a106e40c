import type { BlockId, ContentId } from '../core/index.js';
import type { ContentRow, FileRow } from './catalog.js';

/** A content's row as JSON has it; each extent: offset in the content, length, block, offset in the block. */
export interface WireContentRow {
  id: string;
  size: number;
  extents: [number, number, string, number][];
}

/** What JSON has of a file's row beside its path. */
export interface WireFileFields {
  hash?: string | undefined;
  size: number;
  mode: number;
}

export function wireContentRow({ id, size, extents }: ContentRow): WireContentRow {
  return {
    id,
    size,
    extents: extents.map(({ offset, length, block, blockOffset }) => [offset, length, block, blockOffset]),
  };
}

/** Of a row whose form was checked. */
export function contentRowOf({ id, size, extents }: WireContentRow): ContentRow {
  return {
    id: id as ContentId,
    size,
    extents: extents.map(([offset, length, block, blockOffset]) => ({
      offset,
      length,
      block: block as BlockId,
      blockOffset,
    })),
  };
}

export function wireFileFields({ hash, size, mode }: FileRow): { hash?: string; size: number; mode: number } {
  return { ...(hash !== undefined && { hash }), size, mode };
}

/** Of fields whose form was checked. */
export function fileRowOf(path: Buffer, { hash, size, mode }: WireFileFields): FileRow {
  return { path, hash: hash as ContentId | undefined, size, mode };
}
