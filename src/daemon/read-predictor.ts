/** Blocks asked for ahead of a reader at most: 64 MiB of them, where small files are packed. */
export const AHEAD_MAX = 64;

/** On the other side of the reader, of the window: a walk through a tree does not go straight on. */
const BEHIND_SHARE = 1 / 4;

/** In a large file, who leaves out no more than one block gets on. */
const NEXT = 2;

/** A read this many units away from what a walk has read, or was fetched, is still its. */
const NEAR = 8;

/** A walk that has left out more is none. */
const SKIPPED_MAX = 256;

/** Ahead in a large file that is read from its beginning. */
const FILE_WINDOW_FIRST = 2;

/** Such a window ahead of a walk is of one that goes through the whole tree: it will come to what files share as well. */
const WINDOW_OF_SCAN = 8;

/** Of a large file that is ahead in a walk. The rest is fetched ahead when the file is read. */
const UNIT_BLOCKS_MAX = 16;

/** Followed at once. */
const WALKS_MAX = 8;
const FILES_MAX = 8;

/**
 * The blocks of a tree in directory order, by rank. A unit is what a walk through the tree comes to: a block that files share, or
 * all those of a large file.
 */
export interface UnitOrder {
  /** How many there are. */
  readonly units: number;
  unitOf(rank: number): number;
  /** The rank of a unit's first block; of `units`, the number of blocks. */
  firstRankOf(unit: number): number;
  /** Blocks of other units that the files of this one need as well. */
  sharedRanksOf(unit: number): readonly number[];
}

/** Somebody who goes through the tree, in units. All limits are inclusive. */
interface Walk {
  /** What was read of it, */
  usedFrom: number;
  usedTo: number;
  /** but for these. */
  skipped: Set<number>;
  /** What was asked for around that. */
  from: number;
  to: number;
  direction: 1 | -1;
  window: number;
}

/** A large file that is read, in blocks from its beginning. */
interface FileRead {
  unit: number;
  at: number;
  /** Asked for up to this. */
  to: number;
  window: number;
}

/**
 * Says which blocks will be read next. Who reads one unit after the other, in directory order, is taken to go on: the window ahead is
 * doubled with each one, as that of TCP or of a kernel's read-ahead, unless too many were left out. Walks that go backwards or leave
 * out what they come back to, as those with a stack of directories do, or at several places at once, are followed alike; large files,
 * from front to back. A program that picks its files here and there is left alone: it would wait for what it does not need.
 */
export class ReadPredictor {
  readonly #order: UnitOrder;
  readonly #aheadMax: number;
  /** Who got on last comes first. */
  readonly #walks: Walk[] = [];
  readonly #files: FileRead[] = [];
  /** Of the unit that a walk has come to last: ranks, the next one last. */
  readonly #ranksOfUnit: number[] = [];

  /** @param aheadMax blocks asked for ahead of a reader at most. */
  constructor(order: UnitOrder, aheadMax = AHEAD_MAX) {
    this.#order = order;
    this.#aheadMax = aheadMax;
  }

  /**
   * The block of this rank is read.
   *
   * @param lost it was neither there nor on its way: if it was asked for, it was evicted again, or could not be had.
   */
  read(rank: number, lost: boolean): void {
    const unit = this.#order.unitOf(rank);
    const first = this.#order.firstRankOf(unit);
    if (this.#order.firstRankOf(unit + 1) - first > 1) this.#readFile(unit, rank - first, lost);
    let walk = this.#walkAt(unit);
    if (walk === undefined) {
      if (!lost) return;
      this.#walks.splice(WALKS_MAX - 1);
      walk = newWalk(unit);
    } else {
      this.#walks.splice(this.#walks.indexOf(walk), 1);
      // It was read before, and has been evicted since, as may be all that this walk knows of.
      if (lost && rank === first && wasUsed(walk, unit)) walk = newWalk(unit);
      else getOn(walk, unit, lost, this.#aheadMax);
    }
    this.#walks.unshift(walk);
  }

  /** The rank of a block to fetch: nearest ahead of who got on last. Undefined until somebody reads on. */
  next(): number | undefined {
    return this.#nextOfFiles() ?? this.#ranksOfUnit.pop() ?? this.#nextOfWalks();
  }

  /** Nobody is expected to read on. */
  forget(): void {
    this.#walks.length = 0;
    this.#files.length = 0;
    this.#ranksOfUnit.length = 0;
  }

  #readFile(unit: number, index: number, lost: boolean): void {
    const firstWindow = Math.min(FILE_WINDOW_FIRST, this.#aheadMax);
    const file = this.#files.find((known) => known.unit === unit);
    if (file === undefined) {
      if (!lost && index > 0) return;
      this.#files.splice(FILES_MAX - 1);
      this.#files.unshift({ unit, at: index, to: index, window: index === 0 ? firstWindow : 0 });
      return;
    }
    if (index === file.at) return;
    const getsOn = index > file.at && index <= file.at + NEXT;
    if (getsOn) file.window = Math.min(Math.max(firstWindow, 2 * file.window), this.#aheadMax);
    else file.window = index === 0 ? firstWindow : 0;
    file.to = getsOn && !lost ? Math.max(file.to, index) : index;
    file.at = index;
    this.#files.splice(this.#files.indexOf(file), 1);
    this.#files.unshift(file);
  }

  #nextOfFiles(): number | undefined {
    for (const file of this.#files) {
      const first = this.#order.firstRankOf(file.unit);
      const last = this.#order.firstRankOf(file.unit + 1) - 1 - first;
      if (file.to < Math.min(file.at + file.window, last)) return first + ++file.to;
    }
    return undefined;
  }

  #nextOfWalks(): number | undefined {
    for (const walk of this.#walks) {
      const unit = this.#nextUnit(walk);
      if (unit === undefined) continue;
      const first = this.#order.firstRankOf(unit);
      const blocks = Math.min(this.#order.firstRankOf(unit + 1) - first, UNIT_BLOCKS_MAX, walk.window);
      if (walk.window >= WINDOW_OF_SCAN) this.#ranksOfUnit.push(...this.#order.sharedRanksOf(unit));
      for (let rank = first + blocks - 1; rank > first; rank--) this.#ranksOfUnit.push(rank);
      return first;
    }
    return undefined;
  }

  #nextUnit(walk: Walk): number | undefined {
    const behind = Math.floor(walk.window * BEHIND_SHARE);
    const first = Math.max(walk.usedFrom - (walk.direction === 1 ? behind : walk.window), 0);
    const last = Math.min(walk.usedTo + (walk.direction === 1 ? walk.window : behind), this.#order.units - 1);
    for (;;) {
      const above = walk.to < last && this.#blocksIn(walk.usedTo + 1, walk.to) < this.#aheadMax;
      const below = walk.from > first && this.#blocksIn(walk.from, walk.usedFrom - 1) < this.#aheadMax;
      if (!above && !below) return undefined;
      const unit = above && (walk.direction === 1 || !below) ? ++walk.to : --walk.from;
      if (!wasUsed(walk, unit)) return unit;
    }
  }

  /** In units from `from` to `to`, inclusive. */
  #blocksIn(from: number, to: number): number {
    return this.#order.firstRankOf(to + 1) - this.#order.firstRankOf(from);
  }

  /** The walk that has come closest to a unit. */
  #walkAt(unit: number): Walk | undefined {
    let closest: Walk | undefined;
    let closestDistance = Infinity;
    for (const walk of this.#walks) {
      if (unit < walk.from - NEAR || unit > walk.to + NEAR) continue;
      const distance = distanceFrom(unit, walk.usedFrom, walk.usedTo);
      if (distance >= closestDistance) continue;
      closest = walk;
      closestDistance = distance;
    }
    return closest;
  }
}

function newWalk(unit: number): Walk {
  return {
    usedFrom: unit,
    usedTo: unit,
    skipped: new Set(),
    from: unit,
    to: unit,
    direction: 1,
    window: 0,
  };
}

function wasUsed({ usedFrom, usedTo, skipped }: Walk, unit: number): boolean {
  return unit >= usedFrom && unit <= usedTo && !skipped.has(unit);
}

function getOn(walk: Walk, unit: number, lost: boolean, windowMax: number): void {
  if (wasUsed(walk, unit)) return;
  const { usedFrom, usedTo, skipped } = walk;
  if (!skipped.delete(unit)) {
    walk.direction = unit > usedTo ? 1 : -1;
    for (let between = usedTo + 1; between < unit; between++) skipped.add(between);
    for (let between = unit + 1; between < usedFrom; between++) skipped.add(between);
    walk.usedFrom = Math.min(usedFrom, unit);
    walk.usedTo = Math.max(usedTo, unit);
    if (skipped.size > SKIPPED_MAX) skipped.clear();
  }
  if (skipped.size <= Math.max(1, walk.window / 2)) {
    walk.window = Math.min(Math.max(1, 2 * walk.window), windowMax);
  } else if (skipped.size > 2 * walk.window) {
    walk.window = Math.floor(walk.window / 2);
  }
  const wasAskedFor = unit >= walk.from && unit <= walk.to;
  if (walk.window === 0 || (lost && wasAskedFor)) {
    // Nothing between is asked for; or what was, is not there any more.
    walk.from = walk.usedFrom;
    walk.to = walk.usedTo;
  }
}

function distanceFrom(unit: number, from: number, to: number): number {
  return Math.max(from - unit, unit - to, 0);
}
