import type net from 'node:net';

/** Calls `onLine` with each line of UTF-8 that comes over a socket, without its end. A line of more than `maxLength` characters ends the socket. */
export function readLines(socket: net.Socket, maxLength: number, onLine: (line: string) => void): void {
  let pending = '';
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    pending += text;
    if (text.includes('\n')) {
      const lines = pending.split('\n');
      pending = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    }
    if (pending.length > maxLength) socket.destroy();
  });
}
