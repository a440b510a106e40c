/**
 * Reads every file of a folder in some order, again and again, and compares each with the same file of another folder: `node faulty-reader.js
 * <dir> <same> <stop file> <seed>`. A read may fail with EIO; what is read must be right. Prints how many files were right, and how many failed.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

const [dir = '', same = '', stopFile = '', seed = '0'] = process.argv.slice(2);
const names = readdirSync(same, { recursive: true, encoding: 'utf8' })
  .filter((name) => statSync(path.join(same, name)).isFile())
  .sort();
const outcome = { right: 0, failed: 0, wrong: [] as string[] };

for (let round = Number(seed); !existsSync(stopFile); round++) {
  for (let index = 0; index < names.length && !existsSync(stopFile); index++) {
    const name = names[(index * 7 + round * 13) % names.length] ?? '';
    try {
      const isRight = readFileSync(path.join(dir, name)).equals(readFileSync(path.join(same, name)));
      if (isRight) outcome.right += 1;
      else outcome.wrong.push(name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') outcome.wrong.push(`${name}: ${String(error)}`);
      outcome.failed += 1;
    }
  }
}
process.stdout.write(JSON.stringify(outcome));
