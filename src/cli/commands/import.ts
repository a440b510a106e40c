import { resolve } from 'node:path';
import { CairnError, homeLayout } from '../../core/index.js';
import { defineCommand } from '../command.js';
import { interruptible } from '../interruption.js';
import { withStores } from '../open-version.js';
import { openProgress } from '../progress.js';
import { countText, durationText, sizeText } from '../quantities.js';

export const importCommand = defineCommand({
  name: 'import',
  summary: 'publish a directory as a version of a workspace',
  details: 'Publishes a directory as the next version of a workspace, which it creates where there is none.',
  positionals: [{ name: 'dir', describe: 'the directory' }],
  options: {
    workspace: { type: 'string', short: 'w', describe: 'of this name: a-z, 0-9, . _ -' },
    message: { type: 'string', short: 'm', describe: 'what it is' },
    author: { type: 'string', describe: 'who publishes (CAIRN_AUTHOR; default: user@host)' },
    'embed-below': {
      type: 'string',
      describe: 'hold files below this size in the manifest (CAIRN_EMBED_BELOW)',
    },
  },
  examples: [
    ['import . --workspace demo', 'this folder becomes demo@1'],
    ['import ~/site -w site -m "before the redesign"', 'with a message'],
  ],
  run: async ({ dir }, { workspace, message }, { settings, output }) => {
    if (workspace === undefined) {
      throw new CairnError('usage', 'no workspace named', { hint: 'cairn import <dir> --workspace <name>' });
    }
    const startMs = performance.now();
    const result = await withStores(
      settings,
      async ({ catalog, objects, blocks }) => {
        const { importDirectory } = await import('../../snapshot/index.js');
        const progress = await openProgress('import', output.json);
        return interruptible('nothing was published', (signal) =>
          importDirectory({
            dir: resolve(dir),
            workspace,
            catalog,
            objects,
            blocks,
            manifestDir: homeLayout.manifests(settings.home),
            home: settings.home,
            author: settings.author,
            message: message ?? '',
            embedBelowBytes: settings.embedBelowBytes,
            onProgress: (state) => {
              progress.update(state);
            },
            signal,
          }),
        ).finally(() => {
          progress.stop();
        });
      },
      workspace,
    );
    const tookMs = performance.now() - startMs;
    await output.document({ ...result, tookMs });

    const { created, version, files, bytes, storedBytes, skipped } = result;
    const name = `${version.workspace}@${String(version.seq)}`;
    const what = `${countText(files, 'file')}, ${sizeText(bytes)}`;
    await output.line(
      created
        ? `${name}: ${what}, ${sizeText(storedBytes)} stored, in ${durationText(tookMs)}`
        : `nothing has changed since ${name} (${what}), looked in ${durationText(tookMs)}`,
    );
    for (const path of skipped) await output.line(`left out, another file system: ${path}`);
  },
});
