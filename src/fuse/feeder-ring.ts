import type { Ino } from '../core/index.js';

/**
 * What session thread and feeder thread share: a ring of slots in memory, each a file whose bytes may be pushed into the kernel's page cache,
 * or a reply that is to be sent when all before it has been done.
 *
 * A push overwrites what is in the page, so it must not happen once a program may have changed it. The session thread learns of that first: a
 * request names the inode, and the program waits for its reply. A slot's state decides who was first:
 *
 *     OFFERED -> PUSHING -> DONE                                   the feeder has pushed it
 *     OFFERED -> WITHDRAWN                                         the session was first: the feeder passes over it
 *     OFFERED -> PUSHING -> REVOKING -> REVOKED -> DONE            the push is under way: the session makes its bytes unreadable before it replies
 *     OFFERED -> PUSHING -> REVOKING -> REVOKED -> HELD -> DONE    and the reply must wait for its end: the feeder sends it
 *     REPLY -> DONE                                                the feeder has sent the reply
 *
 * All but the change from REVOKING to REVOKED are compare-and-exchange. The session thread never waits for the feeder; the feeder waits for
 * work, and for REVOKED.
 */
const SLOTS = 4096;
const MASK = SLOTS - 1;

const State = {
  DONE: 0,
  OFFERED: 1,
  PUSHING: 2,
  REVOKING: 3,
  REVOKED: 4,
  HELD: 5,
  WITHDRAWN: 6,
  REPLY: 7,
} as const;

/** Of `control`. HEAD and TAIL count slots, modulo 2^32; WAKE counts reasons to look again, while SLEEPING. */
const HEAD = 0;
const TAIL = 1;
const WAKE = 2;
const PHASE = 3;
const GENERATION = 4;
const ROOT_LENGTH = 5;
const HELD_LENGTH = 6;
const SLEEPING = 7;
const CONTROL_WORDS = 8;

const Phase = { STARTING: 0, OPEN: 1, CLOSED: 2 } as const;

/** Of `numbers`, before the slots' own. */
const BUFFER_ADDRESS = 0;
const PUSHED_FILES = 1;
const NUMBERS = 2;

const NUMBERS_OF_A_SLOT = 4;
const ROOT_BYTES = 128;
const HELD_BYTES = 256;

const NUMBERS_AT = CONTROL_WORDS * 4;
const STATES_AT = NUMBERS_AT + (NUMBERS + SLOTS * NUMBERS_OF_A_SLOT) * 8;
const GENERATIONS_AT = STATES_AT + SLOTS * 4;
const UNIQUES_AT = GENERATIONS_AT + SLOTS * 4;
const ROOT_AT = UNIQUES_AT + SLOTS * 8;
const HELD_AT = ROOT_AT + ROOT_BYTES;
const RING_BYTES = HELD_AT + HELD_BYTES;

/** A regular file the feeder may push, as the listing of its directory had it. */
export interface Offer {
  ino: Ino;
  directory: Ino;
  /** The cookie of the first file that was offered with it: where reading the directory's files begins. */
  fromCookie: number;
  cookie: number;
}

/** The memory, laid out. */
class Ring {
  readonly control: Int32Array;
  readonly numbers: Float64Array;
  readonly states: Int32Array;
  readonly generations: Int32Array;
  readonly uniques: Uint32Array;
  readonly root: Uint8Array;
  readonly held: Uint8Array;

  constructor(shared: SharedArrayBuffer) {
    this.control = new Int32Array(shared, 0, CONTROL_WORDS);
    this.numbers = new Float64Array(shared, NUMBERS_AT, NUMBERS + SLOTS * NUMBERS_OF_A_SLOT);
    this.states = new Int32Array(shared, STATES_AT, SLOTS);
    this.generations = new Int32Array(shared, GENERATIONS_AT, SLOTS);
    this.uniques = new Uint32Array(shared, UNIQUES_AT, SLOTS * 2);
    this.root = new Uint8Array(shared, ROOT_AT, ROOT_BYTES);
    this.held = new Uint8Array(shared, HELD_AT, HELD_BYTES);
  }
}

/** Memory for one mount's feeder, empty. */
export function createFeederRing(): SharedArrayBuffer {
  return new SharedArrayBuffer(RING_BYTES);
}

/** Files pushed so far, for whoever asks. */
export function pushedFiles(shared: SharedArrayBuffer): number {
  return new Ring(shared).numbers[PUSHED_FILES] ?? 0;
}

/** The session thread's side. Allocates nothing while nothing is offered. */
export class OfferSide {
  readonly #ring: Ring;
  /** Makes the bytes at the address unreadable: see `StoreBuffer`. */
  readonly #makeUnreadable: (bufferAddress: number) => void;
  /** The slot each inode was last offered in; at most as many as there are slots. */
  readonly #slotOf = new Map<Ino, number>();
  readonly #inoOf = new Float64Array(SLOTS);
  #head = 0;
  #published = 0;

  constructor(shared: SharedArrayBuffer, makeUnreadable: (bufferAddress: number) => void) {
    this.#ring = new Ring(shared);
    this.#makeUnreadable = makeUnreadable;
  }

  /** Whether a feeder is there and takes offers. */
  get isOpen(): boolean {
    return Atomics.load(this.#ring.control, PHASE) === Phase.OPEN;
  }

  /** How many more slots can be filled. */
  get room(): number {
    return SLOTS - ((this.#head - Atomics.load(this.#ring.control, TAIL)) | 0);
  }

  /** From now on what is offered is to be read from the version with this root. */
  setRoot(root: string): void {
    const { control } = this.#ring;
    const bytes = Buffer.from(root, 'latin1');
    if (bytes.length > ROOT_BYTES) throw new Error('the name of a version is too long');
    // Odd while it changes: who reads it meanwhile reads it again.
    Atomics.add(control, GENERATION, 1);
    this.#ring.root.set(bytes);
    Atomics.store(control, ROOT_LENGTH, bytes.length);
    Atomics.add(control, GENERATION, 1);
  }

  /** Fills a slot; there must be room. The feeder sees it at `publish`. */
  offer(offer: Offer): void {
    const slot = this.#take();
    const { numbers, generations, control, states } = this.#ring;
    const at = NUMBERS + slot * NUMBERS_OF_A_SLOT;
    numbers[at] = offer.ino;
    numbers[at + 1] = offer.directory;
    numbers[at + 2] = offer.fromCookie;
    numbers[at + 3] = offer.cookie;
    generations[slot] = Atomics.load(control, GENERATION);
    this.#inoOf[slot] = offer.ino;
    this.#slotOf.set(offer.ino, slot);
    Atomics.store(states, slot, State.OFFERED);
  }

  /** Leaves it to the feeder to answer a request with success and no payload, after all that was offered before. */
  replyAfter(uniqueLow: number, uniqueHigh: number): void {
    const slot = this.#take();
    this.#ring.uniques[slot * 2] = uniqueLow;
    this.#ring.uniques[slot * 2 + 1] = uniqueHigh;
    Atomics.store(this.#ring.states, slot, State.REPLY);
  }

  /** Lets the feeder have what was filled in. */
  publish(): void {
    if (this.#published === this.#head) return;
    this.#published = this.#head;
    Atomics.store(this.#ring.control, HEAD, this.#head);
    wake(this.#ring);
  }

  /**
   * From its return on no page of the inode is overwritten any more, but for one that the kernel has begun with and keeps locked meanwhile.
   * To be called before a request is answered that a change of the pages may follow, and when the kernel forgets the inode.
   */
  withdraw(ino: Ino): void {
    const slot = this.#slotOf.get(ino);
    if (slot === undefined) return;
    const { states, numbers } = this.#ring;
    if (Atomics.compareExchange(states, slot, State.OFFERED, State.WITHDRAWN) === State.OFFERED) return;
    if (Atomics.compareExchange(states, slot, State.PUSHING, State.REVOKING) !== State.PUSHING) return;
    this.#makeUnreadable(numbers[BUFFER_ADDRESS] ?? 0);
    Atomics.store(states, slot, State.REVOKED);
    Atomics.notify(states, slot);
  }

  /**
   * Gives the reply to a request that makes the inode shorter to the feeder, if a push of the inode that was revoked has not ended: the kernel
   * compares a push with the size at its beginning and makes a shorter file longer. True when the feeder sends it, at the end of that push.
   */
  holdReply(ino: Ino, reply: Buffer): boolean {
    const { control, states, held } = this.#ring;
    const slot = Atomics.load(control, TAIL) & MASK;
    if (this.#inoOf[slot] !== ino || Atomics.load(states, slot) !== State.REVOKED) return false;
    held.set(reply);
    Atomics.store(control, HELD_LENGTH, reply.length);
    return Atomics.compareExchange(states, slot, State.REVOKED, State.HELD) === State.REVOKED;
  }

  /** The feeder ends when it has done what it has. */
  close(): void {
    Atomics.store(this.#ring.control, PHASE, Phase.CLOSED);
    wake(this.#ring);
  }

  #take(): number {
    const slot = this.#head & MASK;
    this.#head = (this.#head + 1) | 0;
    const before = this.#inoOf[slot] ?? 0;
    if (this.#slotOf.get(before) === slot) this.#slotOf.delete(before);
    this.#inoOf[slot] = 0;
    return slot;
  }
}

/** What the feeder is to do next. The object is used again for each. */
export type Task =
  | ({ kind: 'push'; generation: number } & Offer)
  | { kind: 'reply'; uniqueLow: number; uniqueHigh: number }
  | { kind: 'pass' };

/** The feeder thread's side. */
export class PushSide {
  readonly #ring: Ring;
  readonly #push: Extract<Task, { kind: 'push' }> = {
    kind: 'push',
    generation: 0,
    ino: 0,
    directory: 0,
    fromCookie: 0,
    cookie: 0,
  };
  readonly #reply: Extract<Task, { kind: 'reply' }> = { kind: 'reply', uniqueLow: 0, uniqueHigh: 0 };
  readonly #pass: Extract<Task, { kind: 'pass' }> = { kind: 'pass' };
  #tail = 0;

  constructor(shared: SharedArrayBuffer) {
    this.#ring = new Ring(shared);
  }

  /** From now on offers are taken. `bufferAddress`: what a revoked push is to be kept from reading. */
  open(bufferAddress: number): void {
    this.#ring.numbers[BUFFER_ADDRESS] = bufferAddress;
    Atomics.compareExchange(this.#ring.control, PHASE, Phase.STARTING, Phase.OPEN);
  }

  /** Waits for something to do; undefined when the session has ended. Each is followed by `done`. */
  next(): Task | undefined {
    const { control, states } = this.#ring;
    for (;;) {
      if (Atomics.load(control, HEAD) !== this.#tail) break;
      if (Atomics.load(control, PHASE) === Phase.CLOSED) return undefined;
      const seen = Atomics.load(control, WAKE);
      Atomics.store(control, SLEEPING, 1);
      // Looked at again: whoever wrote before it said so wakes nobody.
      if (Atomics.load(control, HEAD) === this.#tail && Atomics.load(control, PHASE) !== Phase.CLOSED)
        Atomics.wait(control, WAKE, seen);
      Atomics.store(control, SLEEPING, 0);
    }
    const slot = this.#slot;
    const state = Atomics.load(states, slot);
    if (state === State.OFFERED) return this.#pushTask(slot);
    if (state !== State.REPLY) return this.#pass;
    this.#reply.uniqueLow = this.#ring.uniques[slot * 2] ?? 0;
    this.#reply.uniqueHigh = this.#ring.uniques[slot * 2 + 1] ?? 0;
    return this.#reply;
  }

  /** The root of the version to read from, and its number: that of an offer is never newer. */
  root(): { generation: number; root: string } {
    const { control, root } = this.#ring;
    for (;;) {
      const generation = Atomics.load(control, GENERATION);
      const text = Buffer.from(root.slice(0, Atomics.load(control, ROOT_LENGTH))).toString('latin1');
      if ((generation & 1) === 0 && Atomics.load(control, GENERATION) === generation)
        return { generation, root: text };
    }
  }

  /** Whether the push of the current slot may begin. Its bytes are in the buffer by now. */
  begin(): boolean {
    const { states } = this.#ring;
    return Atomics.compareExchange(states, this.#slot, State.OFFERED, State.PUSHING) === State.OFFERED;
  }

  /** After the push of the current slot. False when it was revoked: the buffer is unreadable, and `endRevoked` must follow. */
  end(): boolean {
    const { states } = this.#ring;
    if (Atomics.compareExchange(states, this.#slot, State.PUSHING, State.DONE) === State.PUSHING) return true;
    while (Atomics.load(states, this.#slot) === State.REVOKING)
      Atomics.wait(states, this.#slot, State.REVOKING);
    return false;
  }

  countPushed(): void {
    const { numbers } = this.#ring;
    numbers[PUSHED_FILES] = (numbers[PUSHED_FILES] ?? 0) + 1;
  }

  /** When the buffer of a revoked push is readable again. Returns the reply that waited for it, to be sent. */
  endRevoked(): Buffer | undefined {
    const { states, control, held } = this.#ring;
    if (Atomics.compareExchange(states, this.#slot, State.REVOKED, State.DONE) === State.REVOKED)
      return undefined;
    const reply = Buffer.from(held.slice(0, Atomics.load(control, HELD_LENGTH)));
    Atomics.store(states, this.#slot, State.DONE);
    return reply;
  }

  /** The current slot can be filled again. */
  done(): void {
    this.#tail = (this.#tail + 1) | 0;
    Atomics.store(this.#ring.control, TAIL, this.#tail);
  }

  get #slot(): number {
    return this.#tail & MASK;
  }

  #pushTask(slot: number): Task {
    const { numbers, generations } = this.#ring;
    const at = NUMBERS + slot * NUMBERS_OF_A_SLOT;
    const task = this.#push;
    task.generation = generations[slot] ?? 0;
    task.ino = numbers[at] ?? 0;
    task.directory = numbers[at + 1] ?? 0;
    task.fromCookie = numbers[at + 2] ?? 0;
    task.cookie = numbers[at + 3] ?? 0;
    return task;
  }
}

function wake({ control }: Ring): void {
  // To wake somebody is a system call, and may cost the core one runs on.
  if (Atomics.load(control, SLEEPING) === 0) return;
  Atomics.add(control, WAKE, 1);
  Atomics.notify(control, WAKE);
}
