import type { Random } from './random.js';

/** A copy that differs in one to four places, or in its length. */
export function mutated(sample: Buffer, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(sample);
  for (let count = 1 + random.below(4); count > 0; count--) bytes = mutatedOnce(bytes, random);
  return bytes;
}

function mutatedOnce(bytes: Buffer, random: Random): Buffer {
  if (bytes.length === 0) return random.bytes(1 + random.below(64));
  const at = random.below(bytes.length);
  const length = 1 + random.below(Math.min(64, bytes.length - at));
  switch (random.below(9)) {
    case 0:
      bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << random.below(8)), at);
      return bytes;
    case 1:
      bytes.writeUInt8(random.oddU32() & 0xff, at);
      return bytes;
    case 2:
      if (at + 4 <= bytes.length) bytes.writeUInt32LE(random.oddU32(), at);
      return bytes;
    case 3:
      if (at + 4 <= bytes.length) bytes.writeUInt32BE(random.oddU32(), at);
      return bytes;
    case 4:
      return bytes.subarray(0, at);
    case 5:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 6:
      return Buffer.concat([bytes.subarray(0, at), random.bytes(length), bytes.subarray(at)]);
    case 7:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    default:
      bytes.fill(random.pick([0, 0xff]), at, at + length);
      return bytes;
  }
}

/** JSON of a value that is wrong in one or two places: a key too few, another type, an absurd number, a cut. */
export function mutatedJson(value: unknown, random: Random): string {
  let wrong = mutatedValue(value, random);
  if (random.once(2)) wrong = mutatedValue(wrong, random);
  const text = JSON.stringify(wrong);
  switch (random.below(8)) {
    case 0:
      return text.slice(0, random.below(text.length + 1));
    case 1:
      return mutated(Buffer.from(text), random).toString('latin1');
    default:
      return text;
  }
}

/** Built when it is asked for: `JSON.parse` makes `__proto__` a key like any other. */
const STRANGERS: readonly (() => unknown)[] = [
  () => null,
  () => true,
  () => '',
  () => 'x'.repeat(300),
  () => '../../..',
  () => 'a\0b',
  () => -1,
  () => 0.5,
  () => 1e308,
  () => Number.MAX_SAFE_INTEGER,
  () => [],
  () => ({}),
  () => [[[[]]]],
  () => JSON.parse('{"__proto__": {"format": 1}, "constructor": null}') as unknown,
];

function mutatedValue(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null || random.once(6)) return random.pick(STRANGERS)();
  const keys = Object.keys(value);
  if (keys.length === 0) return random.pick(STRANGERS)();
  const key = random.pick(keys);
  const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Record<string, unknown>;
  if (random.once(3)) Reflect.deleteProperty(copy, key);
  else copy[key] = mutatedValue(copy[key], random);
  return copy;
}
