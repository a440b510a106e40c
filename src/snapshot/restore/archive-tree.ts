import { isUtf8 } from 'node:buffer';
import { once } from 'node:events';
import { Readable, type PassThrough } from 'node:stream';
import { ZipFile } from 'yazl';
import type { BlockStore } from '../../blocks/index.js';
import { isDirectory, isRegular, isSymlink, type Ino } from '../../core/index.js';
import type { ManifestReader } from '../../manifest/index.js';
import { EntriesAhead, type AheadEntry } from './entries-ahead.js';
import { RecentBlocks } from './recent-blocks.js';
import { isInTar, TAR_RECORD_BYTES, tarHeader, tarPadding } from './tar-header.js';

export interface ArchiveOptions {
  reader: ManifestReader;
  blocks: BlockStore;
  /** The directory whose entries the archive has, by their paths below it. */
  ino: Ino;
}

/** Small pieces go out together. */
const PIECE_BYTES = 64 * 1024;

/**
 * A directory as a tar archive (pax): names of any bytes, modes, owners, times to the nanosecond, symbolic and hard links, devices and fifos. Holes are
 * zeros; extended attributes and sockets are left out. In memory are a few blocks, and the paths of hard links. Throws as `readContent` does.
 */
export async function* tarTree({ reader, blocks, ino }: ArchiveOptions): AsyncGenerator<Buffer> {
  const ahead = new EntriesAhead(reader, new RecentBlocks(blocks));
  const linked = new Map<Ino, Buffer>();
  let pieces: Buffer[] = [];
  let length = 0;
  const taken = (): Buffer => {
    const bytes = Buffer.concat(pieces, length);
    pieces = [];
    length = 0;
    return bytes;
  };
  for (const entry of ahead.below(ino)) {
    for await (const piece of tarEntry(entry, reader, ahead, linked)) {
      pieces.push(piece);
      length += piece.length;
      if (length >= PIECE_BYTES) yield taken();
    }
  }
  pieces.push(Buffer.alloc(2 * TAR_RECORD_BYTES));
  length += 2 * TAR_RECORD_BYTES;
  yield taken();
}

async function* tarEntry(
  entry: AheadEntry,
  reader: ManifestReader,
  ahead: EntriesAhead,
  linked: Map<Ino, Buffer>,
): AsyncGenerator<Buffer> {
  const { path, inode } = entry;
  if (!isInTar(inode.mode)) return;
  const linkTo = isDirectory(inode.mode) ? undefined : linked.get(inode.ino);
  const target = isSymlink(inode.mode) ? reader.symlink(inode.ino) : undefined;
  yield tarHeader({ path, inode, target, linkTo });
  if (linkTo !== undefined) return;
  if (inode.nlink > 1 && !isDirectory(inode.mode)) linked.set(inode.ino, path);
  if (!isRegular(inode.mode)) return;
  yield* ahead.read(entry);
  yield tarPadding(inode.size);
}

/**
 * A directory as a zip archive: files, directories, and symbolic links as Info-ZIP has them; nothing else. Names are UTF-8 there: a byte that is not, a
 * backslash, and the colon of what would be a drive's letter stand as %XX. In memory are a few blocks, and all names. Throws as `readContent` does.
 */
export async function* zipTree({ reader, blocks, ino }: ArchiveOptions): AsyncGenerator<Buffer> {
  const ahead = new EntriesAhead(reader, new RecentBlocks(blocks));
  const zip = new ZipFile() as ZipFile & { entries: unknown[] };
  // For each entry yazl goes through all before it: those that are written wait elsewhere for the directory at the end.
  const written: unknown[][] = [];
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- yazl makes one, and its types say less
  const output = zip.outputStream as PassThrough;
  const fail = (error: unknown): void => {
    output.destroy(error instanceof Error ? error : new Error('archiving failed', { cause: error }));
  };
  zip.on('error', fail);
  let reading: Readable | undefined;
  const add = async (entry: AheadEntry): Promise<void> => {
    const { path, inode } = entry;
    const name = zipName(path);
    const options = { mtime: new Date(inode.mtimeSec * 1000), mode: inode.mode };
    if (isDirectory(inode.mode)) zip.addEmptyDirectory(name, options);
    else if (isSymlink(inode.mode)) {
      zip.addBuffer(reader.symlink(inode.ino) ?? Buffer.alloc(0), name, { ...options, compress: false });
    } else if (isRegular(inode.mode)) {
      // Its turn comes when the one before it is written.
      await new Promise<void>((resolve) => {
        zip.addReadStreamLazy(name, { ...options, size: inode.size }, (begin) => {
          written.push(zip.entries.splice(0, zip.entries.length - 1));
          reading = Readable.from(ahead.read(entry), { objectMode: false });
          reading.on('error', fail);
          begin(undefined, reading);
          resolve();
        });
      });
    }
    if (output.writableNeedDrain) await once(output, 'drain');
  };
  const addAll = async (): Promise<void> => {
    for (const entry of ahead.below(ino)) await add(entry);
    zip.entries = [...written.flat(), ...zip.entries];
    zip.end();
  };
  try {
    addAll().catch(fail);
    yield* output as AsyncIterable<Buffer>;
  } finally {
    reading?.destroy();
    output.destroy();
  }
}

function zipName(path: Buffer): string {
  const escaped = (text: string): string =>
    Array.from(
      Buffer.from(text, 'latin1'),
      (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    ).join('');
  const text = isUtf8(path) ? path.toString() : path.toString('latin1').replace(/[\x80-\xff]/g, escaped);
  return text
    .replace(/\\/g, escaped)
    .replace(/^([a-zA-Z]):/, (_, letter: string) => `${letter}${escaped(':')}`);
}
