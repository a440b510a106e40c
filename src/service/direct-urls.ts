import { blockKey } from '../blocks/index.js';
import { CairnError, type BlockId } from '../core/index.js';
import type { ObjectStore } from '../objects/index.js';

/** How long a URL is good: nobody takes it back, whatever becomes of the token it was given for. */
export const URL_TERM_S = 10 * 60;

/** URLs at which clients read from the service's store, and put into it, by themselves. */
export class DirectUrls {
  readonly #presign: NonNullable<ObjectStore['presign']>;

  /** Throws `usage` for a store that has no such URLs. */
  constructor(objects: ObjectStore) {
    if (objects.presign === undefined) {
      throw new CairnError('usage', `--direct needs a store in S3, which ${objects.url} is not`, {
        hint: 'give --store s3://bucket/prefix, or leave --direct out',
      });
    }
    this.#presign = objects.presign.bind(objects);
  }

  async toRead(key: string): Promise<string> {
    return await this.#presign('GET', key, URL_TERM_S);
  }

  async toReadBlocks(ids: Iterable<BlockId>): Promise<Record<string, string>> {
    return await this.#byId(ids, (id) => this.toRead(blockKey(id)));
  }

  /** @param prefix where the workspace's clients put blocks. */
  async toPutBlocks(prefix: string, ids: Iterable<BlockId>): Promise<Record<string, string>> {
    return await this.#byId(ids, (id) => this.#presign('PUT', `${prefix}${id}`, URL_TERM_S));
  }

  async #byId(
    ids: Iterable<BlockId>,
    urlOf: (id: BlockId) => Promise<string>,
  ): Promise<Record<string, string>> {
    const urls: Record<string, string> = {};
    for (const id of ids) urls[id] = await urlOf(id);
    return urls;
  }
}
