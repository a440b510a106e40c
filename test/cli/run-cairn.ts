import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface Ran {
  code: number | undefined;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** Besides PATH and CAIRN_HOME: the settings of whoever runs the tests stay out. */
  env?: Record<string, string>;
  cwd?: string;
}

/** The variables a command runs with. */
function cairnEnvironment(home: string, env: Record<string, string> = {}): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', CAIRN_HOME: home, ...env };
}

/** Runs the real command line in a process of its own. */
export async function runCairn(
  home: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  const { stdout, stderr, exitCode } = await execa(process.execPath, [MAIN, ...args], {
    reject: false,
    stdin: 'ignore',
    extendEnv: false,
    env: cairnEnvironment(home, options.env),
    stripFinalNewline: false,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  return { code: exitCode, stdout, stderr };
}

/** The same, with standard output as bytes and arguments as bytes, by way of a shell. */
export async function runCairnInShell(
  home: string,
  script: string,
  cwd: string,
): Promise<{ code: number | undefined; stdout: Uint8Array; stderr: string }> {
  const { stdout, stderr, exitCode } = await execa('/bin/bash', ['-c', script], {
    reject: false,
    stdin: 'ignore',
    extendEnv: false,
    env: cairnEnvironment(home, { CAIRN: `${process.execPath} ${MAIN}` }),
    encoding: 'buffer',
    cwd,
  });
  return { code: exitCode, stdout, stderr: Buffer.from(stderr).toString('utf8') };
}

export function jsonLines(text: string): unknown[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line): unknown => JSON.parse(line));
}
