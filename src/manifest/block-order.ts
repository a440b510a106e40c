import { setImmediate } from 'node:timers/promises';
import type Database from 'better-sqlite3';
import { blockIdOf, bytesOfId, type BlockId, type Ino } from '../core/index.js';
import { ManifestQuery, corruptManifest, openManifestDatabase } from './manifest-database.js';
import { isDigest, isInodeNumber } from './row-rules.js';

/** A manifest of more blocks, some TiB, has no order: 24 MiB of memory are enough for a hint. */
const BLOCKS_MAX = 1024 * 1024;

/** Looked at for `sharedRanksOf`. */
const BLOCKS_OF_UNIT_MAX = 64;

/** Inodes looked at before other work gets its turn: about a millisecond. */
const PAGE_INODES = 2048;

/** Of the connection, which passes over the extents once and then looks up single blocks. */
const PAGE_CACHE_KIB = 512;

/**
 * The blocks of a version in the order in which a walk through its directories first comes to them, which is that of inode
 * numbers: an import counts them directory by directory. Blocks' own numbers are in the order of their making, so that those of
 * later versions stand apart from their neighbours. Holds 24 bytes for each block.
 */
export class BlockOrder {
  readonly #path: string;
  readonly #database: Database.Database;
  readonly #numberById: ManifestQuery<[Buffer]>;
  readonly #idByNumber: ManifestQuery<[number]>;
  readonly #numbersOfFiles: ManifestQuery<[Ino, Ino, number]>;
  /** By rank. */
  readonly #numbers: Int32Array;
  /** By number; -1 for one that no file refers to. */
  readonly #ranks: Int32Array;
  /** By rank. */
  readonly #units: Int32Array;
  /** By unit: the rank of its first block; of one more, `#length`. */
  readonly #firstRanks: Int32Array;
  /** By unit: the file in which its first block comes first. */
  readonly #firstInos: Float64Array;
  #unitCount = 0;
  #length = 0;

  private constructor(path: string, database: Database.Database) {
    this.#path = path;
    this.#database = database;
    database.pragma(`cache_size = -${String(PAGE_CACHE_KIB)}`);
    this.#numberById = new ManifestQuery(database, path, 'SELECT idx FROM block WHERE id = ?');
    this.#idByNumber = new ManifestQuery(database, path, 'SELECT id FROM block WHERE idx = ?');
    this.#numbersOfFiles = new ManifestQuery(
      database,
      path,
      'SELECT DISTINCT block FROM extent WHERE ino >= ? AND ino < ? LIMIT ? + 0',
    );
    const highest = new ManifestQuery<[]>(
      database,
      path,
      'SELECT coalesce(max(idx), 0) FROM block',
    ).get()?.[0];
    const count = isBlockNumber(highest) || highest === 0 ? highest : 0;
    this.#numbers = new Int32Array(count);
    this.#ranks = new Int32Array(count + 1).fill(-1);
    this.#units = new Int32Array(count);
    this.#firstRanks = new Int32Array(count + 1);
    this.#firstInos = new Float64Array(count);
  }

  /**
   * Reads the order from the manifest at `path`, a page at a time; until then, nothing is in it. Throws `CairnError` as
   * `openManifest` does.
   */
  static async open(path: string, signal?: AbortSignal): Promise<BlockOrder> {
    const { database } = openManifestDatabase(path);
    try {
      const order = new BlockOrder(path, database);
      await order.#read(signal);
      return order;
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Ranks are 0 to this, exclusive. */
  get length(): number {
    return this.#length;
  }

  /** Undefined for a block that is not the version's. */
  rankOf(id: BlockId): number | undefined {
    const number = this.#numberById.get(bytesOfId(id))?.[0];
    const rank = isBlockNumber(number) ? this.#ranks[number] : undefined;
    return rank === -1 ? undefined : rank;
  }

  /** A unit is a block that files share, or all those of a large file. Units are 0 to this, exclusive. */
  get units(): number {
    return this.#unitCount;
  }

  unitOf(rank: number): number {
    return this.#units[rank] ?? 0;
  }

  /** The rank of the first block of a unit; for `units`, `length`. */
  firstRankOf(unit: number): number {
    return this.#firstRanks[unit] ?? this.#length;
  }

  /**
   * The ranks of blocks of earlier units that the files of this one have some of their content in, as equal content is stored only
   * once: of the first 64 blocks it refers to.
   */
  sharedRanksOf(unit: number): number[] {
    const from = this.#firstInos[unit] ?? Infinity;
    const to = unit + 1 < this.#unitCount ? (this.#firstInos[unit + 1] ?? 0) : Number.MAX_SAFE_INTEGER;
    const first = this.firstRankOf(unit);
    const shared: number[] = [];
    for (const [number] of this.#numbersOfFiles.all(from, to, BLOCKS_OF_UNIT_MAX)) {
      const rank = this.#ranks[number as number] ?? -1;
      if (rank >= 0 && rank < first) shared.push(rank);
    }
    return shared;
  }

  idAt(rank: number): BlockId | undefined {
    const number = rank < this.#length ? this.#numbers[rank] : undefined;
    if (number === undefined) return undefined;
    const id = this.#idByNumber.get(number)?.[0];
    if (!isDigest(id)) throw corruptManifest(this.#path, 'id of a block');
    return blockIdOf(id);
  }

  close(): void {
    this.#database.close();
  }

  async #read(signal: AbortSignal | undefined): Promise<void> {
    const page = new ManifestQuery<[Ino, Ino]>(
      this.#database,
      this.#path,
      'SELECT block, min(ino) FROM extent WHERE ino >= ? AND ino < ? GROUP BY block ORDER BY min(ino), min(offset)',
    );
    // From file to file: of numbers there may be far more than of files.
    const firstFrom = new ManifestQuery<[Ino]>(
      this.#database,
      this.#path,
      'SELECT min(ino) FROM extent WHERE ino >= ?',
    );
    let lastFile: unknown;
    for (let from = 0; ; from += PAGE_INODES) {
      const [ino] = firstFrom.get(from) ?? [];
      if (!isInodeNumber(ino)) return;
      from = ino;
      for (const [number, file] of page.all(ino, ino + PAGE_INODES)) {
        if (!isBlockNumber(number) || this.#ranks[number] !== -1) continue;
        if (file !== lastFile) {
          this.#firstInos[this.#unitCount] = file as Ino;
          this.#unitCount += 1;
        }
        lastFile = file;
        this.#ranks[number] = this.#length;
        this.#numbers[this.#length] = number;
        this.#units[this.#length] = this.#unitCount - 1;
        this.#length += 1;
        this.#firstRanks[this.#unitCount] = this.#length;
      }
      await setImmediate();
      signal?.throwIfAborted();
    }
  }
}

function isBlockNumber(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= BLOCKS_MAX;
}
