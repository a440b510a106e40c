import { CairnError } from '../../core/index.js';
import { defineCommand } from '../command.js';
import { findVersion, withCatalog } from '../open-version.js';
import { parseReference } from '../reference.js';

export const tagCommand = defineCommand({
  name: 'tag',
  summary: 'name a version, or list the names there are',
  details:
    'Names a version; a name that is taken then means this version. Without a name: lists the tags of a workspace.',
  positionals: [
    { name: 'workspace', describe: 'name[@version]' },
    { name: 'tag', describe: 'a letter, then letters, digits, ".", "_" and "-"', optional: true },
  ],
  options: { delete: { type: 'boolean', describe: 'remove the tag, not the version' } },
  examples: [
    ['tag demo@7 stable', 'demo@stable is demo@7'],
    ['tag demo', 'all tags of demo'],
    ['tag demo stable --delete', 'there is no demo@stable any more'],
  ],
  run: async ({ workspace, tag }, options, { settings, output }) => {
    const reference = parseReference(workspace);
    await withCatalog(settings, async (catalog) => {
      if (tag === undefined) {
        if (options.delete)
          throw new CairnError('usage', 'no tag to delete', { hint: 'cairn tag <workspace> <tag> --delete' });
        for (const found of await catalog.tags(reference.workspace)) {
          await output.document(found);
          await output.line(`${found.workspace}@${found.name}  is @${String(found.seq)}`);
        }
        return;
      }
      if (options.delete) {
        await catalog.deleteTag(reference.workspace, tag);
        await output.document({ workspace: reference.workspace, deleted: tag });
        await output.line(`there is no ${reference.workspace}@${tag} any more`);
        return;
      }
      const { seq } = await findVersion(catalog, reference);
      const set = await catalog.setTag(reference.workspace, tag, seq);
      await output.document(set);
      await output.line(`${set.workspace}@${set.name} is @${String(set.seq)}`);
    });
    return true;
  },
});
