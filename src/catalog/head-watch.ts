/** How long a version that another process has published may go unseen. */
const LOOKED_MS = 250;

interface Waiter {
  workspace: string;
  afterSeq: number;
  /** True when there is a newer version. */
  end: (isThere: boolean) => void;
  fail: (error: unknown) => void;
}

export interface WaitOptions {
  /** At most so long; 0 only looks. */
  waitMs: number;
  signal?: AbortSignal;
}

/** Who waits for a version that others publish. However many wait, and for however many workspaces, one question a round is asked for all of them. */
export class HeadWatch {
  /** `seq` of the heads of those of the workspaces that there are. */
  readonly #headsOf: (workspaces: readonly string[]) => Promise<ReadonlyMap<string, number>>;
  readonly #waiters = new Set<Waiter>();
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;

  constructor(headsOf: (workspaces: readonly string[]) => Promise<ReadonlyMap<string, number>>) {
    this.#headsOf = headsOf;
  }

  /** Whether the workspace gets a version after `afterSeq` in time. A workspace that goes away meanwhile gets none. Rejects as the signal says, and as the question fails. */
  async wait(workspace: string, afterSeq: number, { waitMs, signal }: WaitOptions): Promise<boolean> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = deferred();
    const waiter: Waiter = { workspace, afterSeq, end: resolve, fail: reject };
    const onAbort = (): void => {
      reject(signal?.reason);
    };
    const deadline = setTimeout(() => {
      resolve(false);
    }, waitMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#waiters.add(waiter);
    this.#lookLater();
    try {
      return await promise;
    } finally {
      clearTimeout(deadline);
      signal?.removeEventListener('abort', onAbort);
      this.#waiters.delete(waiter);
      if (this.#waiters.size === 0) this.#stop();
    }
  }

  /** Somebody has published through this process: nobody here need wait for the next round. */
  published(workspace: string, seq: number): void {
    for (const waiter of this.#waiters)
      if (waiter.workspace === workspace && waiter.afterSeq < seq) waiter.end(true);
  }

  /** Nobody waits any longer. */
  close(): void {
    for (const waiter of this.#waiters) waiter.end(false);
    this.#stop();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #lookLater(): void {
    if (this.#timer !== undefined || this.#isLooking) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#look();
    }, LOOKED_MS);
  }

  async #look(): Promise<void> {
    const asked = [...this.#waiters];
    this.#isLooking = true;
    try {
      const heads = await this.#headsOf([...new Set(asked.map(({ workspace }) => workspace))]);
      for (const { workspace, afterSeq, end } of asked) if ((heads.get(workspace) ?? 0) > afterSeq) end(true);
    } catch (error) {
      for (const { fail } of asked) fail(error);
    }
    this.#isLooking = false;
    if (this.#waiters.size > 0) this.#lookLater();
  }
}

function deferred(): { promise: Promise<boolean>; resolve: Waiter['end']; reject: Waiter['fail'] } {
  let resolve: Waiter['end'] = () => undefined;
  let reject: Waiter['fail'] = () => undefined;
  const promise = new Promise<boolean>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
