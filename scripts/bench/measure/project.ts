import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';

/** The folder of this project. */
export const PROJECT = path.resolve(import.meta.dirname, '../../../..');

export function projectVersion(): string {
  return (JSON.parse(readFileSync(path.join(PROJECT, 'package.json'), 'utf8')) as { version: string })
    .version;
}

/** What is checked out, with a `+` where source files differ from it; `unknown` where this is no checkout. */
export function projectCommit(): string {
  try {
    const git = (...words: string[]) =>
      execFileSync('git', ['-C', PROJECT, ...words], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
    const commit = git('rev-parse', '--short', 'HEAD').trim();
    return git('status', '--porcelain', 'src', 'package-lock.json') === '' ? commit : `${commit}+`;
  } catch {
    return 'unknown';
  }
}
