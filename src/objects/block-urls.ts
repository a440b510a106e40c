import { LRUCache } from 'lru-cache';
import { blockUrlsSchema, ServiceProblem, type ServiceClient } from '../wire/index.js';

/** Ids of one question: as many as the service takes. */
const IDS_AT_ONCE = 1000;

const KEPT_MAX = 10_000;

/** Of a URL's time: the rest is for the request that is made with it. */
const USED_SHARE = 0.8;

type Urls = ReadonlyMap<string, string>;

/** Ids that are asked for together. */
interface Batch {
  ids: Set<string>;
  urls: Promise<Urls>;
}

/** URLs of a store at which blocks are read, or put, past the service that gives them. Who asks while a question is under way asks with the next. */
export class BlockUrls {
  readonly #client: ServiceClient;
  readonly #path: string;
  readonly #kept = new LRUCache<string, string>({ max: KEPT_MAX });
  #gathered: Batch | undefined;
  #underWay: Promise<unknown> = Promise.resolve();
  #isDirect: boolean | undefined;

  /** @param kind what for: `urls` to read at, `uploads` to put at. */
  constructor(client: ServiceClient, workspace: string, kind: 'urls' | 'uploads') {
    this.#client = client;
    this.#path = `/v1/workspaces/${encodeURIComponent(workspace)}/${kind}`;
  }

  /** Whether the service gave any when it was last asked; undefined before. */
  get isDirect(): boolean | undefined {
    return this.#isDirect;
  }

  /** Undefined where there is none: the block goes through the service, or is refused there. */
  async of(id: string): Promise<string | undefined> {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept;
    const batch = (this.#gathered ??= this.#gather());
    batch.ids.add(id);
    return (await batch.urls).get(id);
  }

  /** It is not taken any more. */
  forget(id: string): void {
    this.#kept.delete(id);
  }

  #gather(): Batch {
    const ids = new Set<string>();
    const urls = this.#underWay.then(async () => {
      this.#gathered = undefined;
      return await this.#ask([...ids]);
    });
    this.#underWay = urls.catch(() => undefined);
    return { ids, urls };
  }

  async #ask(ids: readonly string[]): Promise<Urls> {
    const all = new Map<string, string>();
    for (let at = 0; at < ids.length; at += IDS_AT_ONCE) {
      const { direct, seconds, urls } = await this.#answer(ids.slice(at, at + IDS_AT_ONCE));
      this.#isDirect = direct;
      for (const [id, url] of Object.entries(urls)) {
        all.set(id, url);
        this.#kept.set(id, url, { ttl: seconds * 1000 * USED_SHARE });
      }
    }
    return all;
  }

  async #answer(blocks: readonly string[]): Promise<ReturnType<typeof blockUrlsSchema.parse>> {
    try {
      return await this.#client.json(blockUrlsSchema, {
        method: 'POST',
        path: this.#path,
        json: { blocks },
        repeatable: true,
      });
    } catch (error) {
      // A service of a release that has none; or no such workspace, which the service says when it is asked for the block.
      if (error instanceof ServiceProblem && error.status === 404)
        return { direct: false, seconds: 0, urls: {} };
      throw error;
    }
  }
}
