import type { BlockStore } from '../../blocks/index.js';
import type { Catalog, Version } from '../../catalog/index.js';
import { CairnError } from '../../core/index.js';
import type { ManifestReader } from '../../manifest/index.js';
import type { ObjectStore } from '../../objects/index.js';
import {
  publishChanges,
  type PathChange,
  type PublishChangesOptions,
  type PublishedChanges,
} from '../../snapshot/index.js';
import type { OpenManifests } from '../open-manifests.js';

/** How often somebody else may publish while a version is made. */
const ATTEMPTS = 10;

interface Publishing extends Pick<
  PublishChangesOptions,
  'workspace' | 'author' | 'message' | 'publishId' | 'blocks' | 'contents'
> {
  atMs: number;
}

/**
 * Publishes changes of paths. Within this process one after the other for each workspace, because of two at a time one would have to begin again; the head's
 * compare-and-swap is what decides.
 */
export class HeadPublisher {
  readonly #catalog: Catalog;
  readonly #objects: ObjectStore;
  readonly #blocks: BlockStore;
  readonly #manifests: OpenManifests;
  /** By workspace: what runs or waits there; never rejects. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(parts: {
    catalog: Catalog;
    objects: ObjectStore;
    blocks: BlockStore;
    manifests: OpenManifests;
  }) {
    this.#catalog = parts.catalog;
    this.#objects = parts.objects;
    this.#blocks = parts.blocks;
    this.#manifests = parts.manifests;
  }

  /**
   * On whatever the head is: `changesOf` is asked for the changes again when another version came in between. It may throw, which ends it. Throws what
   * `publishChanges` does.
   */
  async onHead(
    publishing: Publishing,
    changesOf: (head: ManifestReader | undefined) => Iterable<PathChange>,
  ): Promise<PublishedChanges> {
    return this.#inTurn(publishing.workspace, async () => {
      for (let attempt = 1; ; attempt += 1) {
        const head = await this.#head(publishing.workspace);
        try {
          return await this.#publish(publishing, head, changesOf);
        } catch (error) {
          const isConflict = error instanceof CairnError && error.code === 'conflict';
          if (!isConflict || attempt === ATTEMPTS) throw error;
          if ((await this.#head(publishing.workspace))?.seq === head?.seq) throw error;
        }
      }
    });
  }

  /** On this version or not at all. Throws `conflict` when it is not the head. */
  async on(
    base: Version | undefined,
    publishing: Publishing,
    changes: Iterable<PathChange>,
  ): Promise<PublishedChanges> {
    return this.#inTurn(publishing.workspace, () => this.#publish(publishing, base, () => changes));
  }

  async #publish(
    publishing: Publishing,
    base: Version | undefined,
    changesOf: (base: ManifestReader | undefined) => Iterable<PathChange>,
  ): Promise<PublishedChanges> {
    const lease = base && (await this.#manifests.lease(base.root));
    try {
      const published = await publishChanges({
        ...publishing,
        base,
        changes: changesOf(lease?.reader),
        catalog: this.#catalog,
        objects: this.#objects,
        blockStore: this.#blocks,
        manifestDir: this.#manifests.dir,
      });
      // It is what will be read next.
      if (published.created) (await this.#manifests.lease(published.version.root)).release();
      return published;
    } finally {
      lease?.release();
    }
  }

  async #head(workspace: string): Promise<Version | undefined> {
    const { headSeq } = await this.#catalog.workspace(workspace);
    return headSeq === 0 ? undefined : await this.#catalog.version(workspace, headSeq);
  }

  async #inTurn<Result>(workspace: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#turns.get(workspace);
    const running = (before ?? Promise.resolve()).then(work);
    const turn = running.catch(() => undefined);
    this.#turns.set(workspace, turn);
    try {
      return await running;
    } finally {
      if (this.#turns.get(workspace) === turn) this.#turns.delete(workspace);
    }
  }
}
