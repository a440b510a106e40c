import path from 'node:path';
import type { TimedOutput } from '../measure/timed-commands.js';
import { PeerMount } from './peer-mount.js';

/** s3fs of a bucket without credentials whose objects other programs have put: directories are prefixes. */
export class S3fsMount {
  readonly system = 's3fs';
  readonly mount: PeerMount;

  constructor(folder: string) {
    this.mount = new PeerMount(path.join(folder, 'mnt-s3fs'));
  }

  async mountBucket(endpoint: string, bucket: string): Promise<TimedOutput> {
    const options = ['ro', 'public_bucket=1', `url=${endpoint}`, 'use_path_request_style', 'umask=0022'];
    return await this.mount.mount('s3fs', [
      bucket,
      this.mount.mountpoint,
      ...options.flatMap((option) => ['-o', option]),
    ]);
  }
}
