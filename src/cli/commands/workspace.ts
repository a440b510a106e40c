import type { Catalog, WorkspaceChange } from '../../catalog/index.js';
import { CairnError } from '../../core/index.js';
import { defineCommand } from '../command.js';
import { withCatalog } from '../open-version.js';
import { timeText } from '../quantities.js';
import type { Output } from '../output.js';
import { parseSize } from '../size-setting.js';

interface Wishes {
  'read-only': boolean;
  writable: boolean;
  quota: string | undefined;
}

function changeOf(wishes: Wishes): WorkspaceChange {
  if (wishes['read-only'] && wishes.writable) {
    throw new CairnError('usage', '--read-only and --writable exclude each other');
  }
  const quotaBytes = wishes.quota === undefined || wishes.quota === 'none' ? null : parseSize(wishes.quota);
  if (quotaBytes === undefined) {
    throw new CairnError('usage', `--quota "${wishes.quota ?? ''}" is not a size`, {
      hint: 'as in 20GiB, or none',
    });
  }
  const change: WorkspaceChange = {
    ...((wishes['read-only'] || wishes.writable) && { readOnly: wishes['read-only'] }),
    ...(wishes.quota !== undefined && { quotaBytes }),
  };
  if (Object.keys(change).length > 0) return change;
  throw new CairnError('usage', 'nothing to set', { hint: 'give --read-only, --writable or --quota' });
}

async function setWorkspace(
  catalog: Catalog,
  name: string,
  change: WorkspaceChange,
  output: Output,
): Promise<void> {
  const workspace = await catalog.changeWorkspace(name, change);
  await output.document(workspace);
  const quota =
    workspace.quotaBytes === undefined ? 'no quota' : `at most ${String(workspace.quotaBytes)} bytes`;
  await output.line(`${workspace.name}: ${workspace.readOnly ? 'read-only' : 'takes versions'}, ${quota}`);
}

export const workspaceCommand = defineCommand({
  name: 'workspace',
  summary: 'create, rename, delete, undelete or set up a workspace',
  details:
    'create makes one without a version; rename gives it another name; delete puts it in the trash, from which undelete has it back for 30 days; set says whether it takes versions, and how large one may be.',
  positionals: [
    { name: 'action', describe: 'create, rename, delete, undelete or set' },
    { name: 'name', describe: 'of the workspace' },
    { name: 'new-name', describe: 'for rename', optional: true },
  ],
  options: {
    'read-only': { type: 'boolean', describe: 'set: it takes no version' },
    writable: { type: 'boolean', describe: 'set: it takes versions' },
    quota: {
      type: 'string',
      describe: 'set: what the files of a version may have together, as 20GiB, or none',
    },
  },
  examples: [
    ['workspace rename demo example', ''],
    ['workspace delete demo', 'for 30 days it can be had back'],
    ['workspace set demo --read-only --quota 20GiB', 'no more versions; and 20 GiB once there are'],
  ],
  run: async ({ action, name, 'new-name': newName }, options, { settings, output }) => {
    if ((action === 'rename') !== (newName !== undefined)) {
      throw new CairnError('usage', 'a new name belongs to rename', {
        hint: 'cairn workspace rename <name> <new-name>',
      });
    }
    await withCatalog(settings, async (catalog) => {
      switch (action) {
        case 'create': {
          const workspace = await catalog.ensureWorkspace(name);
          await output.document(workspace);
          await output.line(`there is a workspace ${name}`);
          return;
        }
        case 'rename': {
          const workspace = await catalog.changeWorkspace(name, { name: newName ?? name });
          await output.document(workspace);
          await output.line(`${name} is now ${workspace.name}`);
          return;
        }
        case 'delete': {
          const { untilMs } = await catalog.trashWorkspace(name);
          await output.document({ name, untilMs });
          await output.line(
            `${name} is in the trash: cairn workspace undelete ${name} has it back until ${timeText(untilMs)}`,
          );
          return;
        }
        case 'undelete': {
          const workspace = await catalog.undeleteWorkspace(name);
          await output.document(workspace);
          await output.line(`${name} is back, at version ${String(workspace.headSeq)}`);
          return;
        }
        case 'set':
          await setWorkspace(catalog, name, changeOf(options), output);
          return;
        default:
          throw new CairnError('usage', `cairn workspace does not "${action}"`, {
            hint: 'create, rename, delete, undelete or set',
          });
      }
    });
    return true;
  },
});
