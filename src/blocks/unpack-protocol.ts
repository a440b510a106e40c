import type { BlockId } from '../core/index.js';

/** What an unpacking thread is started with: `workerData`. */
export interface UnpackStart {
  cacheDir: string;
}

/** A fetched object to unpack, verify and keep. Its memory goes to the thread. */
export interface UnpackTask {
  id: BlockId;
  object: Uint8Array;
  /** Somebody waits for the raw bytes: they are sent before the block is kept. */
  wanted: boolean;
}

/** One task at a time: reports carry no number. After `corrupt` and `kept` the thread takes the next. */
export type UnpackReport =
  | { kind: 'loaded' }
  | { kind: 'raw'; raw: Uint8Array }
  | { kind: 'corrupt'; message: string }
  /** `bytes`: of the new file, 0 when the block was there. */
  | { kind: 'kept'; bytes: number }
  /** The block is verified, and the cache has it not. */
  | { kind: 'not-kept'; systemCode: string | undefined };
