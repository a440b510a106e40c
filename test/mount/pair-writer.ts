/**
 * Keeps an invariant across two files of a directory: `node pair-writer.js <dir> <stop file>` writes a number into `a`, syncs it, then into
 * `b`, syncs it, then the next: `b` is never ahead of `a`. Each is there twice, at both ends of a file of 200,000 bytes, and once more as a
 * name that is renamed from number to number after both. Prints the last number.
 */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, writeFileSync, writeSync } from 'node:fs';

const END = 200_000;
const [dir = '', stopFile = ''] = process.argv.slice(2);
const files = [openSync(`${dir}/a`, 'w'), openSync(`${dir}/b`, 'w')];
writeFileSync(`${dir}/at-0`, '');

let number = 0;
do {
  number += 1;
  const text = String(number).padStart(12);
  for (const fd of files) {
    writeSync(fd, text, 0);
    writeSync(fd, text, END);
    fsyncSync(fd);
  }
  renameSync(`${dir}/at-${String(number - 1)}`, `${dir}/at-${String(number)}`);
} while (number % 10 !== 0 || !existsSync(stopFile));
for (const fd of files) closeSync(fd);
process.stdout.write(String(number));
