import { isSoundWorkspace, type WorkspaceRow } from './row-checksum.js';

const NUMBERS = [
  'id',
  'created_at_ms',
  'read_only',
  'quota_bytes',
  'trashed_at_ms',
  'next_number',
  'recorded_seq',
  'base_workspace_id',
  'base_seq',
  'purged',
  'checksum',
] as const satisfies (keyof WorkspaceRow)[];

const TEXTS = ['name', 'generation'] as const satisfies (keyof WorkspaceRow)[];

/** Bytes that SQLite stores a number in. */
const WIDTHS = [1, 2, 3, 4, 6, 8];

/**
 * The row before one byte of it changed: the only one that differs from `row` in one byte of one value and verifies. Undefined where there is
 * none. Of some 80,000 that are tried, one that is not the row verifies by chance once in 50,000 times.
 */
export function mendedWorkspace(row: WorkspaceRow): WorkspaceRow | undefined {
  let mended: WorkspaceRow | undefined;
  for (const candidate of candidatesOf(row)) {
    if (!isSoundWorkspace(candidate)) continue;
    if (mended !== undefined && JSON.stringify(mended) !== JSON.stringify(candidate)) return undefined;
    mended = candidate;
  }
  return mended;
}

function* candidatesOf(row: WorkspaceRow): Generator<WorkspaceRow> {
  for (const column of NUMBERS)
    for (const value of numbersNear(row[column])) yield { ...row, [column]: value };
  for (const column of TEXTS) for (const value of textsNear(row[column])) yield { ...row, [column]: value };
}

function* numbersNear(value: unknown): Generator<number | null> {
  // NULL and 0 have no bytes but one that says which they are.
  if (value === null) yield 0;
  if (value === 0) yield null;
  if (!Number.isSafeInteger(value)) return;
  const bits = BigInt(value as number);
  for (const width of WIDTHS.filter((bytes) => BigInt.asIntN(8 * bytes, bits) === bits)) {
    for (let at = 0; at < width; at++) {
      for (let change = 1; change < 256; change++) {
        const near = Number(BigInt.asIntN(8 * width, bits ^ (BigInt(change) << BigInt(8 * at))));
        if (near >= 0 && Number.isSafeInteger(near)) yield near;
      }
    }
  }
}

/** Names and generations are ASCII; a byte that is no part of UTF-8 is read as one character. */
function* textsNear(value: unknown): Generator<string> {
  if (typeof value !== 'string') return;
  for (let at = 0; at < value.length; at++) {
    for (let code = 0x20; code < 0x7f; code++)
      yield value.slice(0, at) + String.fromCharCode(code) + value.slice(at + 1);
  }
}
