import fs from 'node:fs';
import path from 'node:path';
import { CairnError, systemCode } from '../core/index.js';
import type { MountRequest } from './mount-control.js';
import type { MountFolder } from './mount-folder.js';

/**
 * Makes this process the only one that starts a mount in the folder, until what is returned is called, or it is gone. Throws `conflict` while another one
 * does.
 */
export function claimLaunch({ launchPath }: MountFolder, { mountpoint }: MountRequest): () => void {
  fs.mkdirSync(path.dirname(launchPath), { recursive: true, mode: 0o700 });
  for (;;) {
    try {
      // A link to nowhere: it is there with the pid in it or not at all, and takes no space.
      fs.symlinkSync(String(process.pid), launchPath);
      return () => {
        fs.rmSync(launchPath, { force: true });
      };
    } catch (error) {
      // A disk without a free inode: there is little chance of another command.
      if (systemCode(error) === 'ENOSPC') return () => undefined;
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    if (isStarting(launchPath)) {
      throw new CairnError('conflict', `${mountpoint} is being mounted already`, {
        hint: 'another command is at it',
      });
    }
    fs.rmSync(launchPath, { force: true });
  }
}

/** Whether the process that has claimed the launch is one of ours, and alive. */
function isStarting(launchPath: string): boolean {
  try {
    const pid = fs.readlinkSync(launchPath);
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('cairn');
  } catch {
    return false;
  }
}
