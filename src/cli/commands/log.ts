import type { Catalog, Version } from '../../catalog/index.js';
import { CairnError } from '../../core/index.js';
import { defineCommand } from '../command.js';
import { findVersion, withCatalog } from '../open-version.js';
import { countText, sizeText, timeText } from '../quantities.js';
import type { Output } from '../output.js';
import { parseReference } from '../reference.js';

const PAGE = 100;

async function* versionsFrom(catalog: Catalog, first: Version, limit: number): AsyncGenerator<Version> {
  let left = limit;
  let beforeSeq = first.seq + 1;
  while (left > 0) {
    const page = await catalog.versions(first.workspace, { limit: Math.min(PAGE, left), beforeSeq });
    yield* page;
    const last = page.at(-1);
    if (last === undefined) return;
    left -= page.length;
    beforeSeq = last.seq;
  }
}

function versionLine({ seq, createdAtMs, author, files, bytes, message }: Version): string {
  const [title = ''] = message.split('\n', 1);
  const size = `${countText(files, 'file')}, ${sizeText(bytes)}`;
  return `@${String(seq)}  ${timeText(createdAtMs)}  ${author}  ${size}${title === '' ? '' : `  ${title}`}`;
}

async function printWorkspaces(catalog: Catalog, output: Output): Promise<void> {
  const workspaces = await catalog.workspaces();
  for (const workspace of workspaces) {
    const { name, headSeq, createdAtMs } = workspace;
    await output.document(workspace);
    await output.line(
      `${headSeq === 0 ? `${name} (no version yet)` : `${name}@${String(headSeq)}`}  since ${timeText(createdAtMs)}`,
    );
  }
  if (workspaces.length === 0) await output.line('no workspaces yet: cairn import <dir> --workspace <name>');
}

export const logCommand = defineCommand({
  name: 'log',
  summary: 'list the versions of a workspace, newest first, or the workspaces',
  details:
    'Lists the versions of a workspace, newest first (with --json one a line). Without arguments: lists the workspaces.',
  positionals: [{ name: 'workspace', describe: 'name, or name@7 to begin there', optional: true }],
  options: { limit: { type: 'string', short: 'n', describe: 'show at most so many' } },
  examples: [
    ['log demo', 'every version'],
    ['log demo -n 1', 'the newest'],
    ['log', 'the workspaces'],
  ],
  run: async ({ workspace }, { limit }, { settings, output }) => {
    if (limit !== undefined && !/^[1-9]\d{0,8}$/.test(limit)) {
      throw new CairnError('usage', `--limit "${limit}" is not a number`, { hint: 'as in --limit 10' });
    }
    await withCatalog(settings, async (catalog) => {
      if (workspace === undefined) {
        await printWorkspaces(catalog, output);
        return;
      }
      const first = await findVersion(catalog, parseReference(workspace));
      for await (const version of versionsFrom(
        catalog,
        first,
        limit === undefined ? Infinity : Number(limit),
      )) {
        await output.document(version);
        await output.line(versionLine(version));
      }
    });
  },
});
