/**
 * A process of its own for the tests of the SQLite catalog: `node catalog-process.js <role> <url>`, answering by lines of JSON.
 *
 * - `racer`: opens the catalog; then for each line of standard input, a parent's seq, publishes on it and says how that ended.
 * - `stuck-publisher`: publishes on version 1 until the log holds much of it, says so, and never goes on.
 * - `stranger`: opens the catalog as a user who may not write it.
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { openCatalog, type FileRow } from '../../src/catalog/index.js';
import { CairnError } from '../../src/core/index.js';
import { fileNamed, publicationOn } from '../contract/catalog.js';

const [, , role, url = ''] = process.argv;
const NOBODY = 65_534;

function say(answer: unknown): void {
  writeSync(1, `${JSON.stringify(answer)}\n`);
}

async function race(): Promise<void> {
  const catalog = await openCatalog(url);
  await catalog.ensureWorkspace('w');
  say('ready');
  for await (const line of createInterface({ input: process.stdin })) {
    const publishId = `${line} by ${String(process.pid)}`;
    try {
      const added = Array.from({ length: 50 }, (_, i) => fileNamed(`${publishId}/${String(i)}`));
      await catalog.publish(publicationOn(Number(line), { publishId, added }));
      say({ won: publishId });
    } catch (error) {
      say({ lost: error instanceof CairnError ? error.code : String(error) });
    }
  }
  await catalog.close();
}

async function publishAndStick(): Promise<void> {
  const catalog = await openCatalog(url);
  await catalog.publish(publicationOn(1, { removed: [Buffer.from('a')], added: endlessRows() }));
}

function* endlessRows(): Generator<FileRow> {
  const long = 'x'.repeat(3000);
  for (let i = 0; i < 12_000; i++) yield fileNamed(`${String(i)}/${long}`);
  say('writing');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

async function openAsStranger(): Promise<void> {
  // Loads everything while it may.
  await openCatalog('sqlite:relative').catch(() => undefined);
  const own = await openCatalog(`${url}.own`);
  await own.close();
  if (process.geteuid?.() === 0) process.seteuid?.(NOBODY);
  try {
    await openCatalog(url);
    say('opened');
  } catch (error) {
    say(error instanceof CairnError ? { code: error.code, message: error.message } : String(error));
  }
}

if (role === 'racer') await race();
else if (role === 'stuck-publisher') await publishAndStick();
else if (role === 'stranger') await openAsStranger();
