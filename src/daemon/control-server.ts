import fs from 'node:fs';
import net from 'node:net';
import { CairnError } from '../core/index.js';
import { readLines } from './control-lines.js';
import {
  CONTROL_LINE_MAX_LENGTH,
  parseControlRequest,
  type ControlAnswer,
  type ControlRequest,
} from './control-protocol.js';
import { errorRecord } from './error-record.js';
import { CONTROL_SOCKET, type MountFolder } from './mount-folder.js';
import { socketAddress } from './socket-address.js';

export type ControlHandler = (request: ControlRequest, onStep: (step: string) => void) => Promise<unknown>;

/** Commands at one mount at the same time, at most: descriptors belong to the mount. Whoever comes then is turned away. */
const CONNECTIONS_MAX = 128;

/**
 * Listens on the mount's control socket; the folder's mode keeps others out. The function it returns ends
 * it, and every connection.
 */
export async function serveControl(folder: MountFolder, handle: ControlHandler): Promise<() => void> {
  const folderFd = fs.openSync(folder.dir, 'r');
  fs.rmSync(folder.socketPath, { force: true });
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveConnection(socket, handle);
  });
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketAddress(folderFd, CONTROL_SOCKET), resolve);
  });
  server.once('close', () => {
    fs.closeSync(folderFd);
  });
  return () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
}

/** One request at a time on a connection, and no more is read while the client has not taken its answers: a queue of either has no limit. */
function serveConnection(socket: net.Socket, handle: ControlHandler): void {
  const send = (answer: ControlAnswer): void => {
    if (!socket.destroyed) socket.write(`${JSON.stringify(answer)}\n`);
  };
  const waiting: string[] = [];
  let answering = false;
  const answerAll = async (): Promise<void> => {
    answering = true;
    socket.pause();
    for (let line = waiting.shift(); line !== undefined && !socket.destroyed; line = waiting.shift()) {
      await answer(line, handle, send);
      await drained(socket);
    }
    answering = false;
    socket.resume();
  };
  // A client that goes away is not an error of ours; what it asked for is finished.
  socket.on('error', () => undefined);
  readLines(socket, CONTROL_LINE_MAX_LENGTH, (line) => {
    waiting.push(line);
    if (!answering) void answerAll();
  });
}

/** When the client has taken most of what was written to it, or is gone. */
async function drained(socket: net.Socket): Promise<void> {
  if (!socket.writableNeedDrain || socket.destroyed) return;
  await new Promise<void>((resolve) => {
    const go = (): void => {
      socket.off('drain', go).off('close', go);
      resolve();
    };
    socket.on('drain', go).on('close', go);
  });
}

async function answer(
  line: string,
  handle: ControlHandler,
  send: (answer: ControlAnswer) => void,
): Promise<void> {
  try {
    const request = parseControlRequest(line);
    if (request === undefined) throw new CairnError('usage', 'the daemon does not know this request');
    const result = await handle(request, (step) => {
      send({ kind: 'step', step });
    });
    send({ kind: 'result', result });
  } catch (error) {
    send({ kind: 'error', error: errorRecord(error) });
  }
}
