import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Which connections have a request under way. Node closes those that have had one; those on which none has come yet would keep a service that
 * ends waiting.
 */
export class BusySockets {
  readonly #requests = new Map<Socket, number>();
  #isEnding = false;

  constructor(server: Server) {
    server.on('setSecureContext' in server ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#requests.set(socket, 0);
      socket.once('close', () => this.#requests.delete(socket));
    });
    server.on('request', ({ socket }, response) => {
      this.#add(socket, 1);
      response.once('close', () => {
        this.#add(socket, -1);
      });
    });
  }

  /** From now on a connection is closed as soon as no request is under way on it. */
  end(): void {
    this.#isEnding = true;
    for (const socket of this.#requests.keys()) this.#add(socket, 0);
  }

  #add(socket: Socket, change: number): void {
    const requests = (this.#requests.get(socket) ?? 0) + change;
    this.#requests.set(socket, requests);
    if (this.#isEnding && requests === 0) socket.destroySoon();
  }
}
