import type { Catalog, Publication } from './catalog.js';

/**
 * A catalog that is opened when it is first asked something, and again for the next question where that failed: a mount outlives a catalog that
 * is out of reach, and begins without it.
 */
export class CatalogInUse implements Catalog {
  readonly url: string;
  readonly #open: () => Promise<Catalog>;
  #opened: Promise<Catalog> | undefined;

  constructor(url: string, open: () => Promise<Catalog>) {
    this.url = url;
    this.#open = open;
  }

  async ensureWorkspace(name: string): ReturnType<Catalog['ensureWorkspace']> {
    return await (await this.#catalog()).ensureWorkspace(name);
  }

  async workspace(name: string): ReturnType<Catalog['workspace']> {
    return await (await this.#catalog()).workspace(name);
  }

  async workspaces(): ReturnType<Catalog['workspaces']> {
    return await (await this.#catalog()).workspaces();
  }

  async changeWorkspace(
    ...given: Parameters<Catalog['changeWorkspace']>
  ): ReturnType<Catalog['changeWorkspace']> {
    return await (await this.#catalog()).changeWorkspace(...given);
  }

  async trashWorkspace(name: string): ReturnType<Catalog['trashWorkspace']> {
    return await (await this.#catalog()).trashWorkspace(name);
  }

  async undeleteWorkspace(name: string): ReturnType<Catalog['undeleteWorkspace']> {
    return await (await this.#catalog()).undeleteWorkspace(name);
  }

  async forkWorkspace(...given: Parameters<Catalog['forkWorkspace']>): ReturnType<Catalog['forkWorkspace']> {
    return await (await this.#catalog()).forkWorkspace(...given);
  }

  async version(workspace: string, seq?: number): ReturnType<Catalog['version']> {
    return await (await this.#catalog()).version(workspace, seq);
  }

  async taggedVersion(workspace: string, tag: string): ReturnType<Catalog['taggedVersion']> {
    return await (await this.#catalog()).taggedVersion(workspace, tag);
  }

  async tags(workspace: string): ReturnType<Catalog['tags']> {
    return await (await this.#catalog()).tags(workspace);
  }

  async setTag(workspace: string, tag: string, seq: number): ReturnType<Catalog['setTag']> {
    return await (await this.#catalog()).setTag(workspace, tag, seq);
  }

  async deleteTag(workspace: string, tag: string): ReturnType<Catalog['deleteTag']> {
    await (await this.#catalog()).deleteTag(workspace, tag);
  }

  async versions(...given: Parameters<Catalog['versions']>): ReturnType<Catalog['versions']> {
    return await (await this.#catalog()).versions(...given);
  }

  async newerVersion(...given: Parameters<Catalog['newerVersion']>): ReturnType<Catalog['newerVersion']> {
    return await (await this.#catalog()).newerVersion(...given);
  }

  async publish(publication: Publication): ReturnType<Catalog['publish']> {
    return await (await this.#catalog()).publish(publication);
  }

  async published(workspace: string, publishId: string): ReturnType<Catalog['published']> {
    return await (await this.#catalog()).published(workspace, publishId);
  }

  async reserveNumbers(workspace: string, atLeast: number): ReturnType<Catalog['reserveNumbers']> {
    return await (await this.#catalog()).reserveNumbers(workspace, atLeast);
  }

  async file(workspace: string, seq: number, path: Buffer): ReturnType<Catalog['file']> {
    return await (await this.#catalog()).file(workspace, seq, path);
  }

  async files(...given: Parameters<Catalog['files']>): ReturnType<Catalog['files']> {
    return await (await this.#catalog()).files(...given);
  }

  async changes(...given: Parameters<Catalog['changes']>): ReturnType<Catalog['changes']> {
    return await (await this.#catalog()).changes(...given);
  }

  async knownContents(...given: Parameters<Catalog['knownContents']>): ReturnType<Catalog['knownContents']> {
    return await (await this.#catalog()).knownContents(...given);
  }

  async knownBlocks(...given: Parameters<Catalog['knownBlocks']>): ReturnType<Catalog['knownBlocks']> {
    return await (await this.#catalog()).knownBlocks(...given);
  }

  async isEmpty(): Promise<boolean> {
    return await (await this.#catalog()).isEmpty();
  }

  async close(): Promise<void> {
    await (await this.#opened?.catch(() => undefined))?.close();
  }

  #catalog(): Promise<Catalog> {
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }
}
