import type { CompiledQuery } from 'kysely';

/**
 * Rows or keys of one statement. Large enough that the statement's own cost does not show; times the columns of the widest table far
 * below the parameters a statement may have (SQLite 32,766, PostgreSQL 65,535).
 */
const CHUNK_ROWS = 500;

export function* chunksOf<Item>(items: Iterable<Item>): Generator<Item[]> {
  let chunk: Item[] = [];
  for (const item of items) {
    chunk.push(item);
    if (chunk.length === CHUNK_ROWS) {
      yield chunk;
      chunk = [];
    }
  }
  if (chunk.length > 0) yield chunk;
}

/**
 * Inserts rows by multi-row statements. `compile` is asked once for full chunks: compiling costs several times what inserting
 * does, and the next full chunk differs in its parameters only. All rows must have the same keys in the same order.
 */
export async function insertRows<Row extends object>(
  rows: Iterable<Row>,
  compile: (chunk: Row[]) => CompiledQuery,
  execute: (query: CompiledQuery) => Promise<unknown>,
): Promise<void> {
  let full: CompiledQuery | undefined;
  for (const chunk of chunksOf(rows)) {
    if (chunk.length < CHUNK_ROWS) {
      await execute(compile(chunk));
      continue;
    }
    full ??= compile(chunk);
    await execute({ ...full, parameters: chunk.flatMap((row): unknown[] => Object.values(row)) });
  }
}
