import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TimedCommands } from './timed-commands.js';

/** Some hundred packages with what they depend on. */
const MANIFEST = `${JSON.stringify({
  name: 'bench-npm',
  version: '1.0.0',
  private: true,
  dependencies: { eslint: '9', express: '5', prettier: '3', typescript: '5', webpack: '5' },
})}\n`;

export interface NpmProject {
  /** package.json and its lock file. */
  files: readonly string[];
  /** npm's cache, with all that an installation needs. */
  cache: string;
}

/** A small project and a cache for it. Needs the network once; what it made is used again. */
export async function prepareNpmProject(commands: TimedCommands, folder: string): Promise<NpmProject> {
  const manifest = path.join(folder, 'package.json');
  const complete = path.join(folder, 'complete');
  const cache = path.join(folder, 'cache');
  if ((await readFile(complete, 'utf8').catch(() => '')) !== MANIFEST) {
    await mkdir(folder, { recursive: true });
    await writeFile(manifest, MANIFEST);
    const flags = '--ignore-scripts --no-audit --no-fund --cache "$1"';
    // With the addresses in the lock file, whatever the user has configured, an installation asks the registry for nothing else.
    const lock = `npm install --package-lock-only --omit-lockfile-registry-resolved=false ${flags}`;
    await commands.shell(`${lock} && npm ci ${flags} && rm -r node_modules`, [cache], { cwd: folder });
    await writeFile(complete, MANIFEST);
  }
  return { files: [manifest, path.join(folder, 'package-lock.json')], cache };
}
