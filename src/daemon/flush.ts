import { open } from 'node:fs/promises';
import { CairnError, Errno, errnoOf } from '../core/index.js';
import { syncfs } from '../posix/index.js';

/**
 * What programs have written is in the kernel's page cache until it is written back. The first syncfs also reports a failure of long ago that
 * nobody was told of yet (errseq_t of the kernel): what counts is whether everything can be written now.
 */
export async function flush(mountpoint: string): Promise<void> {
  const root = await open(mountpoint, 'r');
  try {
    await syncfs(root.fd).catch(async () => {
      await syncfs(root.fd);
    });
  } catch (error) {
    const code = errnoOf(error) === Errno.ENOSPC ? 'no-space' : 'failed';
    throw new CairnError(code, `what was written on ${mountpoint} cannot be kept on the local disk`, {
      cause: error,
    });
  } finally {
    await root.close();
  }
}
