import path from 'node:path';
import type { TimedOutput } from '../measure/timed-commands.js';
import { PeerMount } from './peer-mount.js';
import type { Place } from './place.js';

/** `rclone mount`, read-only, with its own defaults: of a local folder, or of a bucket without credentials. */
export class RcloneMount {
  readonly system = 'rclone';
  readonly mount: PeerMount;
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.mount = new PeerMount(path.join(folder, 'mnt-rclone'));
  }

  async mountFolder(tree: string): Promise<Place> {
    await this.#mount(tree, {});
    return { system: this.system, tree: this.mount.mountpoint, symlinks: false, once: true };
  }

  async mountBucket(endpoint: string, bucket: string): Promise<TimedOutput> {
    return await this.#mount(`bench:${bucket}`, {
      RCLONE_CONFIG_BENCH_TYPE: 's3',
      RCLONE_CONFIG_BENCH_PROVIDER: 'Other',
      RCLONE_CONFIG_BENCH_ENDPOINT: endpoint,
      RCLONE_CONFIG_BENCH_REGION: 'us-east-1',
      // Its S3 client refuses to start with one, and there is no TLS on the way to this server.
      AWS_CA_BUNDLE: '',
    });
  }

  async #mount(remote: string, env: Readonly<Record<string, string>>): Promise<TimedOutput> {
    const words = ['mount', remote, this.mount.mountpoint, '--read-only', '--daemon'];
    return await this.mount.mount('rclone', words, {
      ...env,
      RCLONE_CONFIG: path.join(this.#folder, 'none'),
      RCLONE_CACHE_DIR: path.join(this.#folder, 'cache'),
    });
  }
}
