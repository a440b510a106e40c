import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres-server.js';
import { Home, run, Site } from '../mount/site.js';

/** Why there is no PostgreSQL for a service here; then it is over SQLite. */
export const whyNoServer = whyNoPostgres();

/** A machine that knows a service, and no store and no catalog: a home folder, to which the token is given by `cairn login`. */
export class Machine extends Home {
  readonly service: string;

  constructor(site: Site, name: string, service: string) {
    super(site, site.folder(name));
    this.service = service;
  }

  override environment(): Record<string, string> {
    return { CAIRN_HOME: this.dir, CAIRN_CATALOG: this.service };
  }
}

/** `cairn serve` as a process of its own, over PostgreSQL and S3, which is killed and started again. Machines speak to it through a relay. */
export class Center {
  readonly site: Site;
  readonly relay: Relay;
  readonly #home: Home;
  readonly #env: Record<string, string>;
  #process: ChildProcess | undefined;
  #port = 0;

  readonly #options: readonly string[];

  private constructor(site: Site, env: Record<string, string>, relay: Relay, options: readonly string[]) {
    this.#options = options;
    this.site = site;
    this.relay = relay;
    this.#home = site.home('center');
    this.#env = env;
  }

  /** @param options of `cairn serve`. */
  static async start(t: Test, ...options: string[]): Promise<Center> {
    const site = await Site.start(t, 'S3');
    const postgres = whyNoServer === undefined ? await startPostgres() : undefined;
    const relay = await Relay.start();
    const center = new Center(
      site,
      postgres === undefined ? {} : { CAIRN_CATALOG: await postgres.newUrl() },
      relay,
      options,
    );
    // Mounts first: a teardown runs before those that were asked for earlier.
    t.teardown(async () => {
      await center.kill();
      await relay.stop();
      await postgres?.stop();
    });
    await center.up();
    return center;
  }

  /** Where machines find it. */
  get url(): string {
    return this.relay.url;
  }

  async up(): Promise<void> {
    const [command = '', ...args] = this.#home.command([
      'serve',
      '--listen',
      `127.0.0.1:${String(this.#port)}`,
      '--json',
      ...this.#options,
    ]);
    const child = spawn(command, args, {
      env: { PATH: process.env['PATH'] ?? '', ...this.#home.environment(), ...this.#env },
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: '/',
    });
    this.#process = child;
    let said = '';
    child.stderr.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-10_000)));
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const line = await lines.next();
    if (line.done === true) throw new Error(`the service did not start: ${said}`);
    const { url } = JSON.parse(line.value) as { url: string };
    this.#port = Number(new URL(url).port);
    this.relay.upstream = this.#port;
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.up();
  }

  async token(...args: string[]): Promise<string> {
    const created = (await this.#home.json(['token', 'create', ...args], { env: this.#env })) as {
      token: string;
    };
    return created.token;
  }

  /** A machine whose token may everything in every workspace. */
  async machine(name: string): Promise<Machine> {
    const machine = new Machine(this.site, name, this.url);
    const token = await this.token('--workspace', '*', '--can', 'read,write,admin');
    const [command = '', ...args] = machine.command(['login', this.url]);
    const child = spawn(command, args, {
      env: { PATH: process.env['PATH'] ?? '', ...machine.environment() },
      stdio: ['pipe', 'ignore', 'pipe'],
      cwd: '/',
    });
    child.stdin.end(`${token}\n`);
    let said = '';
    child.stderr.on('data', (text: Buffer) => (said += text.toString()));
    const [code] = (await once(child, 'exit')) as [number];
    if (code !== 0) throw new Error(`cairn login ended with ${String(code)}: ${said}`);
    return machine;
  }
}

/** One request that went through the relay. */
export interface Relayed {
  method: string;
  path: string;
  /** In the order of all beginnings and ends. */
  began: number;
  ended: number;
}

/** What is between machines and the service: it stays when the service dies, and knows what was asked. */
export class Relay {
  upstream = 0;
  readonly requests: Relayed[] = [];
  /** Called before a request goes on, and before its answer does: `true` ends the connection in its place. */
  before: (path: string, method: string) => Promise<boolean> = () => Promise.resolve(false);
  after: (path: string, method: string) => Promise<boolean> = () => Promise.resolve(false);
  readonly #server: Server;
  #clock = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<Relay> {
    const server = createServer();
    const relay = new Relay(server);
    server.on('request', (request: IncomingMessage, response) => {
      relay.#pass(request, response).catch(() => response.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #pass(
    request: IncomingMessage,
    response: Parameters<NonNullable<Parameters<typeof createServer>[1]>>[1],
  ): Promise<void> {
    const { url = '', method = '' } = request;
    const relayed: Relayed = { method, path: url, began: ++this.#clock, ended: Infinity };
    this.requests.push(relayed);
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    if (await this.before(url, method)) {
      response.destroy();
      return;
    }
    const on = httpRequest({
      host: '127.0.0.1',
      port: this.upstream,
      path: url,
      method,
      headers: request.headers,
      agent: false,
    });
    response.once('close', () => on.destroy());
    on.end(Buffer.concat(parts));
    const [answer] = (await once(on, 'response')) as [IncomingMessage];
    const body: Buffer[] = [];
    for await (const part of answer) body.push(part as Buffer);
    relayed.ended = ++this.#clock;
    if (await this.after(url, method)) {
      response.destroy();
      return;
    }
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.end(Buffer.concat(body));
  }
}

/** How many of the requests had to wait for another one to be answered: each of the longest chain is a round trip. */
export function roundTrips(requests: readonly Relayed[]): number {
  const ends: number[] = [];
  for (const { began, ended } of requests.toSorted((a, b) => a.ended - b.ended)) {
    const last = ends.at(-1) ?? 0;
    if (began > last) ends.push(ended);
  }
  return ends.length;
}

export async function sh(cwd: string, script: string): Promise<string> {
  const ran = await run(['sh', '-ec', script], { cwd });
  if (ran.code !== 0) throw new Error(`${script} ended with ${String(ran.code)}: ${ran.stderr}`);
  return ran.stdout;
}
