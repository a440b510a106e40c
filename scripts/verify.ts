/**
 * What `npm test` runs once it has built: the checks of the source, then the tests. All of them run even if one fails,
 * so one run tells everything. Prints a line for each with its time, what failed in full, and what was skipped with the
 * reason; the last line is `N passed, N failed, N skipped`, which counts tests. Exits with 1 if a check or a test failed
 * or there was no test to run.
 *
 * Arguments are parts of paths: then only the test files that have one of them in their path run, and no checks.
 * `test/soak` runs for hours and is not part of this.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { runTestFile, type TestFileResult } from './run-test-file.js';

const JOBS = 2;

const CHECKS: readonly (readonly [name: string, command: string, ...commandArguments: string[]])[] = [
  ['lint', 'eslint', '.', '--max-warnings', '0'],
  ['format', 'prettier', '--check', '--log-level', 'warn', '.'],
  ['layers', process.execPath, 'dist/scripts/check-layers.js'],
  ['dead code', 'knip'],
];

const root = path.resolve(import.meta.dirname, '../..');

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function printStep(ok: boolean, duration_ms: number, name: string): void {
  print(`${ok ? 'ok  ' : 'FAIL'}${duration_ms.toFixed(0).padStart(7)} ms  ${name}`);
}

/** Returns the names of the checks that failed. */
async function runChecks(): Promise<string[]> {
  const failed: string[] = [];
  for (const [name, command, ...commandArguments] of CHECKS) {
    const begin = performance.now();
    const result = await execa(command, commandArguments, {
      cwd: root,
      preferLocal: true,
      stdin: 'ignore',
      all: true,
      reject: false,
    });
    printStep(!result.failed, performance.now() - begin, name);
    if (result.failed) {
      failed.push(name);
      print(result.all || (result.shortMessage ?? 'it failed'));
    }
  }
  return failed;
}

/** The sources are listed, not dist: there the output of a test that was removed may remain. */
async function listTestFiles(filters: readonly string[]): Promise<string[]> {
  const entries = await readdir(path.join(root, 'test'), { recursive: true });
  return entries
    .map((entry) => path.join('test', entry))
    .filter((file) => file.endsWith('.test.ts') && !file.startsWith(path.join('test', 'soak')))
    .filter((file) => filters.length === 0 || filters.some((part) => file.includes(part)))
    .sort();
}

async function runTestFiles(files: readonly string[]): Promise<TestFileResult[]> {
  const results: TestFileResult[] = [];
  const waiting = files.values();
  const work = async (): Promise<void> => {
    for (const file of waiting) {
      const result = await runTestFile(root, file);
      results.push(result);
      printStep(result.failed.length === 0, result.duration_ms, file);
      for (const { name, details } of result.failed) {
        print(`  not ok: ${name}\n    ${details.replaceAll('\n', '\n    ')}`);
      }
    }
  };
  await Promise.all(Array.from({ length: JOBS }, work));
  return results;
}

const filters = process.argv.slice(2);
const failedChecks = filters.length === 0 ? await runChecks() : [];
const results = await runTestFiles(await listTestFiles(filters));

const skipped = results.flatMap((result) => result.skipped);
const failedCount = results.reduce((sum, result) => sum + result.failed.length, 0);
const passedCount = results.reduce((sum, result) => sum + result.passed, 0);
for (const { name, reason } of skipped) {
  print(`skipped: ${name}: ${reason}`);
}
for (const { file, failed } of results) {
  for (const { name } of failed) {
    print(`failed: ${file}: ${name}`);
  }
}
if (failedChecks.length > 0) {
  print(`failed checks: ${failedChecks.join(', ')}`);
}
print(`${String(passedCount)} passed, ${String(failedCount)} failed, ${String(skipped.length)} skipped`);
if (failedChecks.length > 0 || failedCount > 0 || passedCount === 0) {
  process.exitCode = 1;
}
