import type { S3Client } from '@aws-sdk/client-s3';
import { nameOf } from './s3-errors.js';

/** What servers answer to credentials that were good once: those of a role or a session end, keys are replaced. */
const STALE = new Set(['ExpiredToken', 'InvalidAccessKeyId', 'InvalidToken', 'TokenRefreshRequired']);

/** The chain may end at a server of its own: it is not asked for each request that is refused. */
const ASK_AGAIN_AFTER_MS = 1_000;

/** For `S3Client`: without it the SDK reads the shared credentials file once in the life of a process. */
export const READ_FILES_AGAIN = { ignoreCache: true };

/**
 * The credentials of a client, which the SDK's chain found and which the client keeps for as long as they say they are good. A mount lives longer
 * than many: when the server says otherwise, the chain is asked again.
 */
export class RenewableCredentials {
  readonly #client: S3Client;
  #asking: Promise<void> | undefined;
  #askedAtMs = -Infinity;

  constructor(client: S3Client) {
    this.#client = client;
  }

  static areStaleBy(error: unknown): boolean {
    return STALE.has(nameOf(error));
  }

  /** Tells those of now from others; undefined while the chain has none. */
  async current(): Promise<string | undefined> {
    try {
      const { accessKeyId, sessionToken } = await this.#client.config.credentials();
      return `${accessKeyId} ${sessionToken ?? ''}`;
    } catch {
      return undefined;
    }
  }

  /** Whether there are, by now, others than those that were refused. */
  async areOthersThan(refused: string | undefined): Promise<boolean> {
    if ((await this.current()) === refused) await this.#askAgain();
    return (await this.current()) !== refused;
  }

  #askAgain(): Promise<void> {
    if (this.#asking === undefined && performance.now() - this.#askedAtMs < ASK_AGAIN_AFTER_MS)
      return Promise.resolve();
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
      this.#askedAtMs = performance.now();
    });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    try {
      await this.#client.config.credentials({ forceRefresh: true });
    } catch {
      // The chain has none now; what the server said of the old ones is the error to tell.
    }
  }
}
