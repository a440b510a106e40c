import type { BlockId, ContentId, ErrorCode } from '../../core/index.js';
import type { EncodedBlock } from '../../blocks/index.js';
import type { FileStat } from './file-stat.js';

/** Small files in directory order. Many to a message, in few arrays: cloning an object for each would cost more than hashing it. */
export interface BatchOfFiles {
  /** The paths' bytes, one after the other. */
  paths: Uint8Array;
  /** Where each path ends in `paths`. */
  pathEnds: Uint32Array;
  /** STAMP_FIELDS numbers for each file: what `lstat` said. */
  stamps: Float64Array;
  /** Files below this are to be embedded. */
  embedBelowBytes: number;
  /** A file that has grown beyond this is not read. */
  maxFileBytes: number;
}

/** size, mtime and ctime in seconds and nanoseconds. */
export const STAMP_FIELDS = 5;

/** What became of a file of a batch. */
export const FileState = {
  /** Its bytes are to be stored, unless they are known. */
  stored: 0,
  /** Its bytes are to be embedded; they come with the result. */
  embedded: 1,
  /** Nothing to store: it is empty or all zeros. */
  zeros: 2,
  /** It was removed before it could be read. */
  gone: 3,
  /** It has grown too large for a batch. */
  grown: 4,
} as const;

export interface HashedBatch {
  /** One of FileState for each file. */
  states: Uint8Array;
  /** 32 bytes for each file. */
  digests: Uint8Array;
  /** Bytes of the embedded files, one after the other, each as long as its size says. */
  embedded: Uint8Array;
  /** Of files that changed since `lstat`: what they were when read. */
  changed: { index: number; stat: FileStat }[];
  /** Of the files that have any, as `packXattrs` makes them. */
  xattrs: { index: number; packed: Uint8Array }[];
}

/** The wanted files of a batch, as blocks. */
export interface PackedBatch {
  blocks: EncodedBlock[];
  /** For each wanted file, in order: which of `blocks`, and where in it. */
  blockIndexes: Uint32Array;
  blockOffsets: Uint32Array;
}

/** The next chunks of a large file; chunks of zeros are left out. */
export interface CutWindow {
  /** The bytes of `chunks`. Its memory is its own. */
  bytes: Uint8Array;
  chunks: { fileOffset: number; id: BlockId; start: number; length: number }[];
  /** With the last window: the whole file's. Undefined when the file changed while it was read. */
  end?: { content: { id: ContentId; stat: FileStat; xattrs: Uint8Array } | undefined };
}

export type HashRequest =
  | { kind: 'read'; batch: number; files: BatchOfFiles }
  | { kind: 'pack'; batch: number; wanted: Uint32Array }
  | { kind: 'cut'; file: number; path?: Uint8Array }
  | { kind: 'close'; file: number }
  | { kind: 'encode'; bytes: Uint8Array; ranges: { start: number; length: number }[] };

/** What each request is answered with. `cut` of a file that is gone: undefined. */
export interface HashAnswers {
  read: HashedBatch;
  pack: PackedBatch;
  cut: CutWindow | undefined;
  close: undefined;
  encode: EncodedBlock[];
}

/** Errors do not survive a structured clone with their class; these are their parts. */
export interface PortableError {
  code: ErrorCode | undefined;
  message: string;
  hint: string | undefined;
  stack: string | undefined;
}

/** Sent once, when a thread has loaded its code. */
export const LOADED = 'loaded';

export type HashReply =
  { id: number; result: HashAnswers[keyof HashAnswers] } | { id: number; error: PortableError };
