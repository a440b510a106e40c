/**
 * Readers of what others may have damaged, given samples that are wrong here and there: each in a process of its own, which neither crashes nor
 * hangs nor takes more and more memory, and whose every case comes to what was promised.
 *
 *   npm run test:fuzz -- --minutes 10 [--target name]              each target for so long, with a new seed
 *   npm run test:fuzz -- --seed S [--target name] [--case N]       a seed again, or one case of it, as a failure prints them
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import t, { type Test } from 'tap';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import type { Target } from './target.js';
import { TARGETS } from './targets/index.js';

/** A case takes some milliseconds: one that has not ended by then never will. */
const HANGS_AFTER_MS = 120_000;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '0' },
    seed: { type: 'string' },
    target: { type: 'string' },
    case: { type: 'string' },
  },
});
const seed = values.seed ?? process.env['CAIRN_TEST_SEED'] ?? String(Date.now() & 0x7fffffff);
const inSuite = values.minutes === '0' && values.case === undefined;

t.setTimeout(0);
for (const target of TARGETS) {
  if (values.target !== undefined && values.target !== target.name) continue;
  t.test(`${target.name}: ${target.promise}`, (t) => fuzz(t, target));
}

async function fuzz(t: Test, target: Target): Promise<void> {
  const folder = scratchFolder(t);
  const first = values.case ?? '0';
  const cases = values.case === undefined ? String(target.cases) : '1';
  t.comment(`--seed ${seed} --target ${target.name}`);
  const script = fileURLToPath(new URL('fuzz-process.js', import.meta.url));
  const args = ['--enable-source-maps', script, folder, target.name, seed, first, cases, values.minutes];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const caseNow = (): string => readIfThere(path.join(folder, 'case')).trim();
  let seen = '';
  const watch = setInterval(() => {
    if (seen === caseNow()) child.kill('SIGKILL');
    seen = caseNow();
  }, HANGS_AFTER_MS);
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null, string | null]>,
  ]);
  clearInterval(watch);
  const replay = `--seed ${seed} --target ${target.name} --case ${caseNow()}`;
  if (code !== 0) {
    t.fail(signal === null ? replay : `${replay}: ended by ${signal}, by itself or because it hung`);
    t.comment(stderr);
    return;
  }
  t.comment(stdout);
  const { outcomes } = JSON.parse(stdout) as { outcomes: Record<string, number> };
  if (inSuite) t.strictSame(Object.keys(outcomes).sort(), [...target.outcomes].sort(), 'cases of every kind');
  t.pass('it kept its promise');
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
