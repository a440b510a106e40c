import { CairnError, jsonPath } from '../../core/index.js';
import type { StatusEntry } from '../../daemon/index.js';
import { CHANGE_LETTERS, CHANGE_LETTERS_HELP } from '../change-letters.js';
import { defineCommand } from '../command.js';
import { withMount } from '../find-mount.js';
import { displayPath } from '../path-text.js';
import { followingLine } from '../following-line.js';
import { publishingLines } from '../publishing-lines.js';
import { sizeText } from '../quantities.js';

const LIMIT_DEFAULT = 10_000;

function entryDocument({ kind, path, from, ino }: StatusEntry): object {
  const paths = jsonPath(Buffer.from(path, 'latin1'));
  return {
    kind,
    ...paths,
    ...(from === undefined ? {} : { from: jsonPath(Buffer.from(from, 'latin1')) }),
    ino,
  };
}

function entryLine({ kind, path, from }: StatusEntry): string {
  const to = displayPath(Buffer.from(path, 'latin1'));
  const shown = from === undefined ? to : `${displayPath(Buffer.from(from, 'latin1'))} -> ${to}`;
  return `${CHANGE_LETTERS[kind]} ${shown}`;
}

export const statusCommand = defineCommand({
  name: 'status',
  summary: 'show what differs from the mounted version',
  details: `Shows what differs from the mounted version, one path a line:
${CHANGE_LETTERS_HELP}`,
  positionals: [
    { name: 'mountpoint', describe: 'the mount, or any path in it (default: here)', optional: true },
  ],
  options: {
    limit: {
      type: 'string',
      short: 'n',
      describe: `show at most so many (default: ${String(LIMIT_DEFAULT)})`,
    },
  },
  examples: [
    ['status ~/demo', 'what would be in the next snapshot'],
    ['status --json | jq .entries', 'the same for a program'],
  ],
  run: async ({ mountpoint = '.' }, { limit }, { settings, output }) => {
    if (limit !== undefined && !/^\d{1,9}$/.test(limit)) {
      throw new CairnError('usage', `--limit "${limit}" is not a number`, { hint: 'as in --limit 100' });
    }
    const status = await withMount(settings.home, mountpoint, (control) =>
      control.status(limit === undefined ? LIMIT_DEFAULT : Number(limit)),
    );
    await output.document({ ...status, entries: status.entries.map(entryDocument) });

    const head =
      status.headSeq !== undefined && status.headSeq !== status.seq
        ? `; the head is @${String(status.headSeq)}`
        : '';
    const mode = status.readOnly ? ', read-only' : '';
    await output.line(`${status.workspace}@${String(status.seq)} on ${status.mountpoint}${mode}${head}`);
    for (const entry of status.entries) await output.line(entryLine(entry));
    if (status.truncated) await output.line('… and more: see --limit');
    if (status.entries.length === 0 && !status.readOnly) await output.line('no changes');
    if (status.upperBytes > 0) await output.line(`edits take ${sizeText(status.upperBytes)} on disk`);
    if (status.following !== undefined) await output.line(followingLine(status.following, status.readOnly));
    for (const line of publishingLines(status.publishing, Date.now())) await output.line(line);
  },
});
