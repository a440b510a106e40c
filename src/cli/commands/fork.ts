import { randomUUID } from 'node:crypto';
import { defineCommand } from '../command.js';
import { findVersion, withCatalog } from '../open-version.js';
import { countText, sizeText } from '../quantities.js';
import { parseReference } from '../reference.js';

export const forkCommand = defineCommand({
  name: 'fork',
  summary: 'begin a workspace with the files of a version',
  details: 'Makes a workspace whose first version has the files of another one’s. Nothing is stored again.',
  positionals: [
    { name: 'workspace', describe: 'name[@version]' },
    { name: 'name', describe: 'of the new workspace' },
  ],
  options: {},
  examples: [['fork demo@7 mine', 'mine@1 is what demo@7 is']],
  run: async ({ workspace, name }, _options, { settings, output }) => {
    const reference = parseReference(workspace);
    await withCatalog(settings, async (catalog) => {
      const { seq } = await findVersion(catalog, reference);
      const version = await catalog.forkWorkspace({
        workspace: reference.workspace,
        seq,
        name,
        author: settings.author,
        publishId: randomUUID(),
      });
      await output.document(version);
      await output.line(
        `${name}@${String(version.seq)} is ${reference.workspace}@${String(seq)}: ${countText(version.files, 'file')}, ${sizeText(version.bytes)}`,
      );
    });
    return true;
  },
});
