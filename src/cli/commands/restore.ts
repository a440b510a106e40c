import { resolve } from 'node:path';
import { defineCommand } from '../command.js';
import { interruptible } from '../interruption.js';
import { findVersion, inodeAt, withManifest, withStores } from '../open-version.js';
import { openProgress } from '../progress.js';
import { countText, durationText, sizeText } from '../quantities.js';
import { parsePathReference } from '../reference.js';

export const restoreCommand = defineCommand({
  name: 'restore',
  summary: 'write a version, or a part of it, to a directory',
  details:
    'Writes a version, or one directory or file of it, to a place that is not there yet (or is an empty folder).',
  positionals: [
    { name: 'workspace', describe: 'name[@version][:path]' },
    { name: 'dest', describe: 'where to' },
  ],
  options: {},
  examples: [
    ['restore demo@7 /tmp/demo-7', 'a whole version'],
    ['restore demo@7:src/index.ts index.old.ts', 'one file'],
  ],
  run: async ({ workspace, dest }, _options, { settings, output }) => {
    const reference = parsePathReference(workspace);
    const destination = resolve(dest);
    const startMs = performance.now();
    await withStores(settings, async (stores) => {
      const version = await findVersion(stores.catalog, reference);
      const restored = await withManifest(settings, stores, version, async (reader) => {
        const { ino } = await inodeAt(reader, version, reference.path ?? Buffer.alloc(0));
        const { restoreTree } = await import('../../snapshot/index.js');
        const progress = await openProgress('restore', output.json);
        return interruptible('nothing was restored', (signal) =>
          restoreTree({
            reader,
            blocks: stores.blocks,
            ino,
            dest: destination,
            onProgress: (state) => {
              progress.update(state);
            },
            signal,
          }),
        ).finally(() => {
          progress.stop();
        });
      });
      const tookMs = performance.now() - startMs;
      await output.document({
        workspace: version.workspace,
        seq: version.seq,
        dest: destination,
        ...restored,
        tookMs,
      });
      await output.line(
        `${version.workspace}@${String(version.seq)} is in ${destination}: ${countText(restored.files, 'file')}, ` +
          `${sizeText(restored.bytes)} in ${durationText(tookMs)}`,
      );
      for (const path of restored.skipped) await output.line(`could not be made here: ${path}`);
    });
  },
});
