import fs from 'node:fs';
import path from 'node:path';
import { bindDatagramSocket, receiveFd, sendFd } from '../posix/index.js';
import type { MountFolder } from './mount-folder.js';
import { socketAddress } from './socket-address.js';

/** What a daemon answers that shares its mount. */
export interface SharedMount {
  /** Its supervisor is there, and starts the next daemon when this one ends. */
  supervised: boolean;
  restarts: number;
}

const SOCKET = 'takeover.sock';

function withSocketName<Result>(folder: MountFolder, work: (name: string) => Result): Result {
  const folderFd = fs.openSync(folder.dir, 'r');
  try {
    return work(socketAddress(folderFd, SOCKET));
  } finally {
    fs.closeSync(folderFd);
  }
}

/** To whoever waits in `receiveMount`. The folder's mode keeps others out. */
export function sendDescriptor(folder: MountFolder, fd: number): void {
  withSocketName(folder, (name) => {
    sendFd(name, fd);
  });
}

/** The mount's descriptor, from the daemon that answers for it and goes on; `share` asks it to call `sendDescriptor`. */
export async function receiveMount(
  folder: MountFolder,
  share: () => Promise<SharedMount>,
): Promise<SharedMount & { fd: number }> {
  const socketPath = path.join(folder.dir, SOCKET);
  fs.rmSync(socketPath, { force: true });
  const socket = withSocketName(folder, bindDatagramSocket);
  try {
    const shared = await share();
    return { ...shared, fd: receiveFd(socket) };
  } finally {
    fs.closeSync(socket);
    fs.rmSync(socketPath, { force: true });
  }
}
