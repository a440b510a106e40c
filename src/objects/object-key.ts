import assert from 'node:assert/strict';

/** The first segment under which a directory keeps unfinished writes: no key begins with it. */
export const TEMPORARY_SEGMENT = 'tmp';

const KEY = /^[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*$/;
const PREFIX = /^[A-Za-z0-9._/-]*$/;

/** Whether `text` is a key as the contract of ObjectStore has it. */
export function isObjectKey(text: string): boolean {
  if (!KEY.test(text)) return false;
  const segments = text.split('/');
  return (
    segments[0] !== TEMPORARY_SEGMENT && !segments.some((segment) => segment === '.' || segment === '..')
  );
}

export function assertObjectKey(key: string): void {
  assert(isObjectKey(key), `not an object key: ${JSON.stringify(key)}`);
}

export function assertKeyPrefix(prefix: string): void {
  assert(
    PREFIX.test(prefix) && !prefix.split('/').includes('..'),
    `not a prefix of object keys: ${JSON.stringify(prefix)}`,
  );
}

export function assertRange(range: { start: number; end: number } | undefined): void {
  assert(
    range === undefined ||
      (Number.isSafeInteger(range.start) &&
        range.start >= 0 &&
        Number.isSafeInteger(range.end) &&
        range.end > range.start),
    `not a byte range: ${JSON.stringify(range)}`,
  );
}
