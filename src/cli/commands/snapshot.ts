import { jsonPath } from '../../core/index.js';
import type { RebaseResult } from '../../daemon/index.js';
import { defineCommand } from '../command.js';
import { conflictLine } from '../conflict-text.js';
import { withMount } from '../find-mount.js';
import { countText, durationText, sizeText } from '../quantities.js';

// Carriage return and EL (ECMA-48).
const CLEAR_LINE = '\r\u001b[K';

function rebaseDocument({ conflicts, ...rest }: RebaseResult): object {
  return {
    ...rest,
    conflicts: conflicts.map(({ path, beside, ...conflict }) => ({
      ...conflict,
      ...jsonPath(Buffer.from(path, 'latin1')),
      ...(beside !== undefined && { beside: jsonPath(Buffer.from(beside, 'latin1')) }),
    })),
  };
}

export const snapshotCommand = defineCommand({
  name: 'snapshot',
  summary: 'publish the edits of a mount as the next version, while in use',
  positionals: [
    { name: 'mountpoint', describe: 'the mount, or any path in it (default: here)', optional: true },
  ],
  options: {
    message: { type: 'string', short: 'm', describe: 'what changed' },
    author: { type: 'string', describe: 'who publishes (CAIRN_AUTHOR; default: user@host)' },
    rebase: {
      type: 'boolean',
      describe: 'merge with what others have published meanwhile, and show that in the mount',
    },
  },
  examples: [
    ['snapshot ~/demo -m "upgrade react"', 'make the next version'],
    ['snapshot', 'of the mount this folder is in'],
    ['snapshot --rebase', 'after somebody else has published'],
  ],
  run: async ({ mountpoint = '.' }, { message, rebase }, { settings, output }) => {
    const showStep = process.stderr.isTTY && !output.json;
    const { workspace, ...result } = await withMount(settings.home, mountpoint, async (control) => ({
      workspace: control.workspace,
      ...(await control.snapshot({ message: message ?? '', author: settings.author, rebase }, (step) => {
        if (showStep) process.stderr.write(`${CLEAR_LINE}${step}`);
      })),
    })).finally(() => {
      if (showStep) process.stderr.write(CLEAR_LINE);
    });
    await output.document({
      workspace,
      ...result,
      ...(result.rebased && { rebased: rebaseDocument(result.rebased) }),
    });
    for (const conflict of result.rebased?.conflicts ?? []) await output.line(conflictLine(conflict));
    if (result.rebased?.moved === false) {
      await output.line(
        'programs are at work on what others changed: what those did will show with the next --rebase',
      );
    }
    if (!result.created) {
      const shows = result.rebased === undefined ? 'since' : 'here; the mount shows';
      await output.line(`nothing has changed ${shows} version ${String(result.seq)} of ${workspace}`);
      return;
    }
    await output.line(
      `version ${String(result.seq)} of ${workspace}: ${countText(result.changedFiles, 'change')}, ` +
        `${sizeText(result.storedBytes)} stored, sealed in ${durationText(result.sealMs)}, ` +
        `published in ${durationText(result.totalMs)}`,
    );
  },
});
