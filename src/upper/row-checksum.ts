import { crc32 } from 'node:zlib';

/** Before each value, so that two rows of other values never come to the same bytes. */
const NUMBER = 1;
const BYTES = 2;
const TEXT = 3;
const NOTHING = 4;

const NUMBER_BYTES = 9;
const LENGTH_BYTES = 5;

let scratch = Buffer.alloc(1024);
let at = 0;

/** CRC-32 of a row's first `count` values, whatever SQLite says they are: a byte that changed on the disk may have changed their types as well. */
export function rowChecksum(values: readonly unknown[], count = values.length): number {
  at = 0;
  for (let index = 0; index < count; index += 1) {
    const value = values[index];
    if (typeof value === 'number') addNumber(value);
    else if (Buffer.isBuffer(value)) addBytes(BYTES, value);
    else if (typeof value === 'string') addBytes(TEXT, Buffer.from(value));
    else addTag(NOTHING, 1);
  }
  return crc32(scratch.subarray(0, at));
}

function addNumber(value: number): void {
  addTag(NUMBER, NUMBER_BYTES);
  scratch.writeDoubleLE(value, at);
  at += NUMBER_BYTES - 1;
}

function addBytes(tag: number, bytes: Buffer): void {
  addTag(tag, LENGTH_BYTES + bytes.length);
  at = scratch.writeUInt32LE(bytes.length, at);
  at += bytes.copy(scratch, at);
}

/** With room for `bytes`, the tag's own among them. */
function addTag(tag: number, bytes: number): void {
  if (at + bytes > scratch.length) {
    const larger = Buffer.alloc(2 * (at + bytes));
    scratch.copy(larger, 0, 0, at);
    scratch = larger;
  }
  at = scratch.writeUInt8(tag, at);
}
