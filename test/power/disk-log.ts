import { closeSync, openSync, readSync, writeSync } from 'node:fs';

/** What happened to a disk, in order. A `note` is what a workload wrote beside it: it came after all that stands before it. */
export type DiskEvent =
  | { kind: 'write'; offset: number; bytes: Buffer }
  | { kind: 'zero'; offset: number; length: number }
  | { kind: 'flush' }
  | { kind: 'note'; text: string };

const KINDS = ['write', 'zero', 'flush', 'note'] as const;
const HEADER_BYTES = 17;

/** Appends events to a file: kind (u8), offset and length (f64), then the bytes of a write or a note. */
export class DiskLogWriter {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, 'a');
  }

  append(event: DiskEvent): void {
    const bytes = bytesOf(event);
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt8(KINDS.indexOf(event.kind), 0);
    header.writeDoubleLE('offset' in event ? event.offset : 0, 1);
    header.writeDoubleLE('length' in event ? event.length : bytes.length, 9);
    writeSync(this.#fd, header);
    if (bytes.length > 0) writeSync(this.#fd, bytes);
  }
}

/** All events of a log, in order, read as they are asked for. */
export function* readDiskLog(path: string): IterableIterator<DiskEvent> {
  const fd = openSync(path, 'r');
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    while (readSync(fd, header) === HEADER_BYTES) {
      const kind = KINDS[header.readUInt8(0)];
      const offset = header.readDoubleLE(1);
      const length = header.readDoubleLE(9);
      const bytes = Buffer.alloc(kind === 'write' || kind === 'note' ? length : 0);
      if (bytes.length > 0) readSync(fd, bytes);
      if (kind === 'write') yield { kind, offset, bytes };
      else if (kind === 'zero') yield { kind, offset, length };
      else if (kind === 'note') yield { kind, text: bytes.toString() };
      else yield { kind: 'flush' };
    }
  } finally {
    closeSync(fd);
  }
}

function bytesOf(event: DiskEvent): Buffer {
  if (event.kind === 'write') return event.bytes;
  return event.kind === 'note' ? Buffer.from(event.text) : Buffer.alloc(0);
}
