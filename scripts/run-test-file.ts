import path from 'node:path';
import { execa } from 'execa';
import { Parser, type FinalResults, type Result, type TapError } from 'tap-parser';

/** A test that failed: its names from the outside in, and what tap reported. */
export interface FailedTest {
  name: string;
  details: string;
}

export interface SkippedTest {
  name: string;
  reason: string;
}

/** What one test file came to. A test is a `t.test` block that asserts something itself;
 * one that only holds a failed block is neither passed nor failed. */
export interface TestFileResult {
  file: string;
  passed: number;
  failed: FailedTest[];
  skipped: SkippedTest[];
  duration_ms: number;
}

/** One test may take this long; tap then fails it and says what it was waiting for. */
const TEST_TIMEOUT_S = 300;
/** After this a whole file is killed: it hangs in a way that tap cannot see. */
const FILE_TIMEOUT_MS = 1_200_000;
/** What tap gives as the reason when a file did not skip itself but has no test. */
const NO_TESTS = 'no tests found';
/** Lines of standard error shown of a file that failed. */
const STDERR_LINES_SHOWN = 40;

function indent(text: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n');
}

function describeFailure(failure: TapError): string {
  if (!('ok' in failure)) {
    return failure.tapError;
  }
  const result = failure as Result;
  const diagnostics = (result.diag ?? {}) as Record<string, unknown>;
  const details = Object.entries(diagnostics)
    .filter(([key]) => key !== 'at' && key !== 'source')
    .map(([key, value]) =>
      typeof value === 'string' && value.includes('\n')
        ? `${key}:\n${indent(value)}`
        : `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`,
    );
  return [result.tapError ?? result.name, ...details].join('\n');
}

/** Follows one level of TAP and those below it. Returns how to learn how many tests failed there. */
function collect(parser: Parser, names: readonly string[], into: TestFileResult): () => number {
  const below: (() => number)[] = [];
  const blocks = new Set<string>();
  let ownAssertions = 0;
  let ownFailed = 0;
  parser.on('child', (child: Parser) => {
    blocks.add(child.name);
    below.push(collect(child, [...names, child.name], into));
  });
  parser.on('assert', (result: Result) => {
    const name = [...names, result.name].join(' › ');
    if (result.skip !== false) {
      into.skipped.push({ name, reason: result.skip === true ? 'no reason given' : result.skip });
    } else if (result.todo !== false) {
      into.skipped.push({ name, reason: result.todo === true ? 'to do' : `to do: ${result.todo}` });
    } else if (!result.closingTestPoint) {
      ownAssertions += 1;
    }
  });
  parser.on('complete', (results: FinalResults) => {
    const failedBelow = below.reduce((sum, count) => sum + count(), 0);
    // A block that failed is reported by itself, and once more, by its name, by the block around it.
    const failures = results.failures.filter(
      ({ name }) => failedBelow === 0 || typeof name !== 'string' || !blocks.has(name),
    );
    // A block can fail without an assertion of its own that does, by its plan for instance.
    if (failures.length > 0 || (!results.ok && failedBelow === 0)) {
      ownFailed = 1;
      const details = failures.map(describeFailure).join('\n');
      into.failed.push({ name: names.join(' › ') || into.file, details });
    } else if (results.ok && ownAssertions > 0) {
      into.passed += 1;
    }
  });
  return () => ownFailed + below.reduce((sum, count) => sum + count(), 0);
}

/**
 * Runs one compiled test file in a process of its own and reads the TAP it prints.
 *
 * Not by the `tap` command: that one preloads its loaders, by NODE_OPTIONS, into every Node process that a test starts,
 * and the processes of a mount would not be the ones that a user runs.
 */
export async function runTestFile(root: string, file: string): Promise<TestFileResult> {
  const result: TestFileResult = { file, passed: 0, failed: [], skipped: [], duration_ms: 0 };
  const parser = new Parser();
  const failedCount = collect(parser, [], result);
  const parsed = new Promise<FinalResults>((resolve) => parser.once('complete', resolve));

  const compiled = path.join('dist', file.replace(/\.ts$/, '.js'));
  const begin = performance.now();
  const child = execa(process.execPath, ['--enable-source-maps', compiled], {
    cwd: root,
    stdin: 'ignore',
    env: { TAP_TIMEOUT: String(TEST_TIMEOUT_S) },
    timeout: FILE_TIMEOUT_MS,
    buffer: { stdout: false },
    reject: false,
  });
  child.stdout.pipe(parser);
  const exit = await child;
  const results = await parsed;
  result.duration_ms = performance.now() - begin;

  if (exit.failed && failedCount() === 0) {
    result.failed.push({ name: file, details: exit.shortMessage ?? 'it failed' });
  } else if (result.passed + result.failed.length + result.skipped.length === 0) {
    const reason = results.plan.skipReason;
    if (reason === '' || reason === NO_TESTS) {
      result.failed.push({ name: file, details: 'it has no tests' });
    } else {
      result.skipped.push({ name: file, reason });
    }
  }
  const last = result.failed.at(-1);
  if (last !== undefined && exit.stderr !== '') {
    const shown = exit.stderr.split('\n').slice(-STDERR_LINES_SHOWN).join('\n');
    last.details += `\nstandard error of the file:\n${indent(shown)}`;
  }
  return result;
}
