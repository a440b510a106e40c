/**
 * Bundles what `cairn` runs into dist/cairn: loading some hundred module files took most of the time of a mount. The processes and threads find each other
 * beside themselves, so all entries are in one folder. Native and lazily loaded packages stay where they are.
 */
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { build, type BuildOptions, type Plugin } from 'esbuild';

const ROOT = path.resolve(import.meta.dirname, '../..');
const OUT = path.join(ROOT, 'dist/cairn');

const ENTRIES: Readonly<Record<string, string>> = {
  cairn: 'cli/main.js',
  'supervisor-main': 'daemon/supervisor-main.js',
  'daemon-main': 'daemon/daemon-main.js',
  'session-thread': 'daemon/session-thread.js',
  'feeder-thread': 'daemon/feeder-thread.js',
  'hash-worker': 'snapshot/import/hash-worker.js',
  'unpack-worker': 'blocks/unpack-worker.js',
};

const EXTERNAL = [
  ...['better-sqlite3', 'zstd-napi', 'koffi', 'pino', 'cli-progress', 'pg', '@aws-sdk/*', '@smithy/*'],
  ...['fastify', '@fastify/*', 'prom-client', 'tar-stream', 'yazl'],
];

const OPTIONS = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  external: EXTERNAL,
  absWorkingDir: ROOT,
  logLevel: 'warning',
} satisfies BuildOptions;

/** The files that are loaded before an entry does anything. */
async function loadedAtOnce(entry: string): Promise<string[]> {
  const withoutRest: Plugin = {
    name: 'without the rest',
    setup(bundle) {
      bundle.onResolve({ filter: /./ }, ({ kind, path: name }) =>
        kind === 'dynamic-import' ? { path: name, external: true } : undefined,
      );
    },
  };
  const { metafile } = await build({
    ...OPTIONS,
    entryPoints: [entry],
    plugins: [withoutRest],
    write: false,
    metafile: true,
  });
  return Object.keys(metafile.inputs).map((file) => path.join(ROOT, file));
}

/**
 * Code is put together by which entries reach it, and what is loaded later counts as an entry. So that all that is loaded at once comes in one file, and not
 * in twenty, everything else is made to reach all of it.
 */
function together(files: readonly string[]): Plugin {
  const all = files.map((file) => `import ${JSON.stringify(file)};`).join('');
  return {
    name: 'together',
    setup(bundle) {
      bundle.onResolve({ filter: /^at-once$/ }, () => ({ path: 'at-once', namespace: 'together' }));
      bundle.onLoad({ filter: /./, namespace: 'together' }, () => ({ contents: all, resolveDir: ROOT }));
      bundle.onLoad({ filter: /\/dist\/src\// }, async ({ path: file }) =>
        files.includes(file) ? undefined : { contents: `import "at-once";${await readFile(file, 'utf8')}` },
      );
    },
  };
}

// Each by itself: what several shared would be in many small files, and none of them loads another's.
await rm(OUT, { recursive: true, force: true });
for (const [name, file] of Object.entries(ENTRIES)) {
  const entry = path.join(ROOT, 'dist/src', file);
  const atOnce = await loadedAtOnce(entry);
  await build({
    ...OPTIONS,
    entryPoints: { [name]: entry },
    plugins: [together(atOnce.filter((one) => one !== entry))],
    splitting: true,
    outdir: OUT,
    sourcemap: true,
    sourcesContent: false,
    // That all of it is reached is what these are for.
    logOverride: { 'ignored-bare-import': 'silent' },
  });
}
