import fs from 'node:fs';
import net from 'node:net';
import { systemCode } from '../core/index.js';
import { CONTROL_SOCKET, type MountFolder } from './mount-folder.js';
import { socketAddress } from './socket-address.js';

/** A connection to the daemon that listens in a mount's folder. Rejects with Node's own error when none does. */
export async function connectControl(folder: MountFolder): Promise<net.Socket> {
  const folderFd = fs.openSync(folder.dir, 'r');
  try {
    return await new Promise((resolve, reject) => {
      const socket = net.connect(socketAddress(folderFd, CONTROL_SOCKET));
      socket.once('connect', () => {
        resolve(socket);
      });
      socket.once('error', reject);
    });
  } finally {
    fs.closeSync(folderFd);
  }
}

/** Whether a daemon listens in the folder right now. */
export async function isAlive(folder: MountFolder): Promise<boolean> {
  try {
    const socket = await connectControl(folder);
    socket.destroy();
    return true;
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return false;
  }
}
