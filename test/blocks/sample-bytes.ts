import { createCipheriv, createHash } from 'node:crypto';

/** Incompressible bytes that depend on nothing but `seed`: the same in every process and on every machine. */
export function sampleBytes(seed: string, length: number): Buffer {
  const key = createHash('sha256').update(seed).digest().subarray(0, 16);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Text of words in no order, which compresses about as well as source code does. */
export function sampleText(seed: string, length: number): Buffer {
  const words = [
    'extent',
    ' of ',
    'a',
    ' block',
    ';\n',
    '  return ',
    '(manifest',
    ')',
    ' inode',
    ' = ',
    'version',
  ];
  const numbers = sampleBytes(seed, length);
  const text = Buffer.alloc(length);
  for (let at = 0, index = 0; at < length; index++) {
    at += text.write(words[(numbers[index] ?? 0) % words.length] ?? '', at, 'latin1');
  }
  return text;
}
