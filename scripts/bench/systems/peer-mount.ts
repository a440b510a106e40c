import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { mountedBelow } from '../measure/remove-folder.js';
import { TimedCommands, type TimedOutput } from '../measure/timed-commands.js';

const LIMIT_SECONDS = 120;
const APPEARS_WITHIN_MS = 60_000;
const POLL_MS = 5;
const UNMOUNT_ATTEMPTS = 20;
const UNMOUNT_PAUSE_MS = 250;

/** Another program's mount: one that goes to the background by itself and ends when it is unmounted. */
export class PeerMount {
  readonly mountpoint: string;
  /** Not cut short by an interruption: what it mounts could appear when all has been unmounted. */
  readonly #uninterrupted = new TimedCommands(new AbortController().signal);

  constructor(mountpoint: string) {
    this.mountpoint = mountpoint;
  }

  /** Runs the command that mounts, and waits until the kernel lists the mount. */
  async mount(
    command: string,
    words: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<TimedOutput> {
    await mkdir(this.mountpoint, { recursive: true });
    const beganMs = performance.now();
    const output = await this.#uninterrupted.run(command, words, { env, limitSeconds: LIMIT_SECONDS });
    while (!(await this.#isMounted())) {
      if (performance.now() - beganMs > APPEARS_WITHIN_MS) throw new Error(`${command} has mounted nothing`);
      await delay(POLL_MS);
    }
    return { ...output, tookMs: performance.now() - beganMs };
  }

  async close(): Promise<void> {
    for (let attempt = 0; attempt < UNMOUNT_ATTEMPTS && (await this.#isMounted()); attempt++) {
      await unmount(this.mountpoint, []).catch(() => delay(UNMOUNT_PAUSE_MS));
    }
    if (await this.#isMounted()) await unmountLazily(this.mountpoint);
  }

  async #isMounted(): Promise<boolean> {
    return (await mountedBelow(path.dirname(this.mountpoint))).includes(this.mountpoint);
  }
}

/** Takes a mount out of sight, whoever uses it and whatever has become of its process. Nothing mounted is no error. */
export async function unmountLazily(mountpoint: string): Promise<void> {
  await unmount(mountpoint, process.getuid?.() === 0 ? ['-l'] : ['-z']).catch(() => undefined);
}

async function unmount(mountpoint: string, flags: readonly string[]): Promise<void> {
  const [command, ...words] = process.getuid?.() === 0 ? ['umount'] : ['fusermount3', '-u'];
  const commands = new TimedCommands(new AbortController().signal);
  await commands.run(command, [...words, ...flags, mountpoint], { limitSeconds: LIMIT_SECONDS });
}
