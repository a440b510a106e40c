import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { MANIFEST_PIECE_BYTES } from '../core/index.js';
import { PAGE_BYTES } from './schema.js';

const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const PAGES_PER_PIECE = MANIFEST_PIECE_BYTES / PAGE_BYTES;

/**
 * The pieces of a database (FORMAT.md M-9) with a page in its write-ahead log, which holds exactly the pages that folding it in
 * will write (https://www.sqlite.org/fileformat2.html#the_write_ahead_log). The log is of one connection, that has it to itself and has
 * committed; none was there before. A log that is otherwise is a fault of this program.
 */
export function piecesInLog(walPath: string): Set<number> {
  const fd = openSync(walPath, 'r');
  try {
    const { size } = fstatSync(fd);
    // Rows were replaced by equal ones.
    if (size === 0) return new Set();
    const header = Buffer.alloc(WAL_HEADER_BYTES);
    readSync(fd, header, 0, WAL_HEADER_BYTES, 0);
    const frameBytes = FRAME_HEADER_BYTES + PAGE_BYTES;
    if (header.readUInt32BE(8) !== PAGE_BYTES || (size - WAL_HEADER_BYTES) % frameBytes !== 0) {
      throw new Error(`${walPath} is not a log of pages of ${String(PAGE_BYTES)} bytes`);
    }
    const pieces = new Set<number>();
    const frame = Buffer.alloc(FRAME_HEADER_BYTES);
    for (let at = WAL_HEADER_BYTES; at < size; at += frameBytes) {
      readSync(fd, frame, 0, FRAME_HEADER_BYTES, at);
      if (frame.compare(header, 16, 24, 8, 16) !== 0) throw new Error(`${walPath} has frames of another log`);
      pieces.add(Math.floor((frame.readUInt32BE(0) - 1) / PAGES_PER_PIECE));
    }
    return pieces;
  } finally {
    closeSync(fd);
  }
}
