/** The entry of a hash-pool thread: answers one request after the other, keeps nothing but open batches and files. */
import { hash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { encodeBlock, isAllZeros, PackWriter, type EncodedBlock } from '../../blocks/index.js';
import { CairnError, messageOf } from '../../core/index.js';
import { FileCutter } from './file-cutter.js';
import {
  FileState,
  LOADED,
  STAMP_FIELDS,
  type BatchOfFiles,
  type CutWindow,
  type HashAnswers,
  type HashedBatch,
  type HashRequest,
  type PackedBatch,
  type PortableError,
} from './hash-protocol.js';
import { packXattrs, readXattrsIfThere } from './source-xattrs.js';
import { readStable } from './stable-reader.js';

/** Bytes of each file of a batch, until the batch is packed. */
const batches = new Map<number, Uint8Array[]>();
const cutters = new Map<number, FileCutter>();

const NO_BYTES = new Uint8Array();

function readBatch(batch: number, files: BatchOfFiles): HashedBatch {
  const count = files.pathEnds.length;
  const paths = Buffer.from(files.paths.buffer, files.paths.byteOffset, files.paths.length);
  let totalBytes = 0;
  for (let index = 0; index < count; index++) totalBytes += files.stamps[index * STAMP_FIELDS] ?? 0;
  const memory = Buffer.allocUnsafeSlow(totalBytes);
  const result = new BatchHasher(count, files.embedBelowBytes);

  let pathStart = 0;
  let memoryStart = 0;
  for (let index = 0; index < count; index++) {
    const pathEnd = files.pathEnds[index] ?? 0;
    const path = paths.subarray(pathStart, pathEnd);
    pathStart = pathEnd;
    const at = index * STAMP_FIELDS;
    const stamp = {
      size: files.stamps[at] ?? 0,
      mtimeSec: files.stamps[at + 1] ?? 0,
      mtimeNsec: files.stamps[at + 2] ?? 0,
      ctimeSec: files.stamps[at + 3] ?? 0,
      ctimeNsec: files.stamps[at + 4] ?? 0,
    };
    const read = readStable(path, stamp, files.maxFileBytes, memory, memoryStart);
    memoryStart += stamp.size;
    if (read.kind === 'gone') {
      result.addMissing(FileState.gone);
      continue;
    }
    if (read.stat !== undefined) result.changed.push({ index, stat: read.stat });
    if (read.kind === 'grown') {
      result.addMissing(FileState.grown);
      continue;
    }
    const rows = readXattrsIfThere(path);
    if (rows.length > 0) result.xattrs.push({ index, packed: packXattrs(rows) });
    result.add(read.bytes);
  }
  batches.set(batch, result.contents);
  return result.hashed();
}

/** Hashes the files of a batch and sorts them by what is to be done with their bytes. */
class BatchHasher {
  readonly contents: Uint8Array[] = [];
  readonly changed: HashedBatch['changed'] = [];
  readonly xattrs: HashedBatch['xattrs'] = [];
  readonly #states: Uint8Array;
  readonly #digests: Buffer;
  readonly #embedded: Uint8Array[] = [];
  readonly #embedBelowBytes: number;

  constructor(count: number, embedBelowBytes: number) {
    this.#states = new Uint8Array(count);
    this.#digests = Buffer.allocUnsafeSlow(32 * count);
    this.#embedBelowBytes = embedBelowBytes;
  }

  addMissing(state: number): void {
    this.#states[this.contents.length] = state;
    this.contents.push(NO_BYTES);
  }

  add(bytes: Uint8Array): void {
    const index = this.contents.length;
    this.#digests.write(hash('sha256', bytes, 'hex'), 32 * index, 'hex');
    if (isAllZeros(bytes)) {
      this.#states[index] = FileState.zeros;
    } else if (bytes.length < this.#embedBelowBytes) {
      this.#states[index] = FileState.embedded;
      this.#embedded.push(bytes);
    } else {
      this.#states[index] = FileState.stored;
    }
    this.contents.push(bytes);
  }

  hashed(): HashedBatch {
    return {
      states: this.#states,
      digests: this.#digests,
      embedded: Buffer.concat(this.#embedded),
      changed: this.changed,
      xattrs: this.xattrs,
    };
  }
}

function packBatch(batch: number, wanted: Uint32Array): PackedBatch {
  const contents = batches.get(batch);
  if (contents === undefined) throw new Error(`no batch ${String(batch)}`);
  batches.delete(batch);
  const blockIndexes = new Uint32Array(wanted.length);
  const blockOffsets = new Uint32Array(wanted.length);
  const blocks: EncodedBlock[] = [];
  const pack = new PackWriter();
  for (const [at, index] of wanted.entries()) {
    if (pack.full) blocks.push(encodeBlock(pack.take()));
    blockIndexes[at] = blocks.length;
    blockOffsets[at] = pack.append(contents[index] ?? NO_BYTES);
  }
  if (pack.length > 0) blocks.push(encodeBlock(pack.take()));
  return { blocks, blockIndexes, blockOffsets };
}

function cutFile(file: number, path: Uint8Array | undefined): CutWindow | undefined {
  let cutter = cutters.get(file);
  if (cutter === undefined) {
    if (path === undefined) throw new Error(`no file ${String(file)}`);
    cutter = FileCutter.open(Buffer.from(path));
    if (cutter === undefined) return undefined;
    cutters.set(file, cutter);
  }
  const window = cutter.next();
  if (window.end !== undefined) closeFile(file);
  return window;
}

function closeFile(file: number): void {
  cutters.get(file)?.close();
  cutters.delete(file);
}

function answer(request: HashRequest): HashAnswers[keyof HashAnswers] {
  switch (request.kind) {
    case 'read':
      return readBatch(request.batch, request.files);
    case 'pack':
      return packBatch(request.batch, request.wanted);
    case 'cut':
      return cutFile(request.file, request.path);
    case 'close':
      closeFile(request.file);
      return undefined;
    case 'encode':
      return request.ranges.map(({ start, length }) =>
        encodeBlock(request.bytes.subarray(start, start + length)),
      );
  }
}

/** Memory that goes to the main thread instead of being copied: the large parts, each alone in its buffer. */
function transferables(kind: HashRequest['kind'], result: HashAnswers[keyof HashAnswers]): ArrayBuffer[] {
  const parts: Uint8Array[] = [];
  if (kind === 'pack') parts.push(...(result as PackedBatch).blocks.map((block) => block.object));
  if (kind === 'encode') parts.push(...(result as EncodedBlock[]).map((block) => block.object));
  if (kind === 'cut' && result !== undefined) parts.push((result as CutWindow).bytes);
  return parts.map((part) => part.buffer as ArrayBuffer);
}

function portable(error: unknown): PortableError {
  const isOurs = error instanceof CairnError;
  return {
    code: isOurs ? error.code : undefined,
    message: messageOf(error),
    hint: isOurs ? error.hint : undefined,
    stack: error instanceof Error ? error.stack : undefined,
  };
}

const port = parentPort;
if (port === null) throw new Error('this module is the entry of a thread');
port.on('message', ({ id, request }: { id: number; request: HashRequest }) => {
  try {
    const result = answer(request);
    port.postMessage({ id, result }, transferables(request.kind, result));
  } catch (error) {
    port.postMessage({ id, error: portable(error) });
  }
});
port.postMessage(LOADED);
