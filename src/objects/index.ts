/**
 * objects: immutable bytes by key, in a directory or a bucket.
 *
 * Owns the promise of ObjectStore (atomic, durable, conditional writes), the retries, and the bound on requests in flight. An opened
 * store is RetryingStore over LimitedStore over DirectoryStore, S3Store or ServiceStore: a pause between attempts holds no place in the queue.
 *
 * Never looks into an object, never verifies a hash, never deletes on its own account (its unfinished writes excepted), never
 * replaces an error's meaning by a default: what it cannot explain is `failed`.
 */
import { fileURLToPath } from 'node:url';
import { CairnError } from '../core/index.js';
import { DirectoryStore } from './directory-store.js';
import { LimitedStore } from './limited-store.js';
import { isObjectKey } from './object-key.js';
import type { ObjectStore } from './object-store.js';
import { RetryingStore } from './retrying-store.js';

export type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectStore,
  PutOptions,
  StoreCounters,
} from './object-store.js';

const REQUEST_LIMITS = { reads: 32, writes: 16 };

const URL_HINT = 'a store is file:///directory, s3://bucket/prefix, or https://host of a service';

export interface StoreOptions {
  /**
   * Versions refer to objects in it, so it is there: a directory that is not is a file system that is not mounted, `unreachable`, and
   * not made by the first write.
   */
  inUse?: boolean;
  /** What writers that died have left is not removed. */
  leaveAsIs?: boolean;
  /** Of a service: the home folder, in which its token may be. */
  home?: string;
  /** Of a service: for versions of which workspace objects are put. */
  workspace?: string;
  /** Of a service: what it holds in memory is not to stand for what its store has. */
  pastCaches?: boolean;
  /** Aborted: nothing is tried again any more. What is under way is finished. */
  impatience?: AbortSignal;
}

/**
 * The store at `url`: `file:///dir`, `https://host` of a service, or `s3://bucket` or `s3://bucket/prefix` (endpoint, region and credentials from the
 * environment, see S3Store). The caller closes it.
 *
 * @throws CairnError `usage` for a URL that is neither, `access-denied` for a directory out of reach.
 */
export async function openObjectStore(url: string, options: StoreOptions = {}): Promise<ObjectStore> {
  const bare = await openBareStore(url, options);
  return new RetryingStore(new LimitedStore(bare, REQUEST_LIMITS), { impatience: options.impatience });
}

async function openBareStore(url: string, options: StoreOptions): Promise<ObjectStore> {
  if (url.startsWith('file:')) return DirectoryStore.open(directoryOf(url), options);
  if (url.startsWith('s3:')) {
    const { bucket, prefix } = bucketAndPrefixOf(url);
    // The SDK takes a third of a second to load: only those who need it pay.
    const { S3Store } = await import('./s3-store.js');
    return S3Store.open(bucket, prefix);
  }
  if (/^https?:/.test(url)) {
    const [{ ServiceStore }, { ServiceClient, serviceToken }] = await Promise.all([
      import('./service-store.js'),
      import('../wire/index.js'),
    ]);
    const token = options.home === undefined ? undefined : await serviceToken(url, options.home);
    // What is tried again is tried again by the store.
    return new ServiceStore(
      new ServiceClient({ url, token, impatience: AbortSignal.abort() }),
      options.workspace,
      options.pastCaches === true,
    );
  }
  throw new CairnError('usage', `not the URL of an object store: ${url}`, { hint: URL_HINT });
}

function directoryOf(url: string): string {
  try {
    const parsed = new URL(url);
    if (/^file:\/\/\/[^?#]*$/.test(url)) return fileURLToPath(parsed).replace(/(?<=.)\/+$/, '');
  } catch {
    // Not a URL, or one with an encoded slash: the same answer.
  }
  throw new CairnError('usage', `not the URL of a directory: ${url}`, { hint: URL_HINT });
}

function bucketAndPrefixOf(url: string): { bucket: string; prefix: string } {
  const { bucket, prefix } =
    /^s3:\/\/(?<bucket>[A-Za-z0-9][A-Za-z0-9._-]+)\/?(?<prefix>.*?)\/?$/.exec(url)?.groups ?? {};
  if (bucket === undefined || prefix === undefined || (prefix !== '' && !isObjectKey(prefix))) {
    throw new CairnError('usage', `not the URL of a bucket: ${url}`, { hint: URL_HINT });
  }
  return { bucket, prefix };
}
