import { CairnError, isDirectory, isRegular } from '../../core/index.js';
import { defineCommand } from '../command.js';
import { fileTypeName } from '../mode-text.js';
import { findVersion, inodeAt, withManifest, withStores } from '../open-version.js';
import { writeOut } from '../output.js';
import { parsePathReference } from '../reference.js';

export const catCommand = defineCommand({
  name: 'cat',
  summary: 'print a file of a version',
  details:
    'Prints the bytes of a file of a version (with --json in pieces, one a line: {"offset", "base64"}).',
  positionals: [{ name: 'file', describe: 'name[@version]:path' }],
  options: {},
  examples: [
    ['cat demo:package.json', 'of the newest version'],
    ['cat demo@7:logo.png > old.png', 'of an old one'],
  ],
  run: async ({ file }, _options, { settings, output }) => {
    const reference = parsePathReference(file);
    const { path } = reference;
    if (path === undefined || path.length === 0) {
      throw new CairnError('usage', `"${file}" names no file`, { hint: 'as in cairn cat demo:package.json' });
    }
    const { readContent } = await import('../../snapshot/index.js');
    await withStores(settings, async (stores) => {
      const version = await findVersion(stores.catalog, reference);
      await withManifest(settings, stores, version, async (manifest) => {
        const inode = await inodeAt(manifest, version, path);
        if (!isRegular(inode.mode)) {
          throw new CairnError('usage', `${file} is a ${fileTypeName(inode.mode)}`, {
            hint: isDirectory(inode.mode) ? `cairn ls ${file}` : `cairn restore ${file} <dest>`,
          });
        }
        let offset = 0;
        for await (const piece of readContent(manifest, stores.blocks, inode.ino)) {
          if (output.json) await output.document({ offset, base64: piece.toString('base64') });
          else await writeOut(piece);
          offset += piece.length;
        }
      });
    });
  },
});
