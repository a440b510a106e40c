import { defineCommand } from '../command.js';
import { withMount } from '../find-mount.js';
import { countText, durationText, sizeText } from '../quantities.js';

// Carriage return and EL (ECMA-48).
const CLEAR_LINE = '\r\u001b[K';

export const snapshotCommand = defineCommand({
  name: 'snapshot',
  summary: 'publish the edits of a mount as the next version, while in use',
  positionals: [
    { name: 'mountpoint', describe: 'the mount, or any path in it (default: here)', optional: true },
  ],
  options: {
    message: { type: 'string', short: 'm', describe: 'what changed' },
    author: { type: 'string', describe: 'who publishes (CAIRN_AUTHOR; default: user@host)' },
  },
  examples: [
    ['snapshot ~/demo -m "upgrade react"', 'make the next version'],
    ['snapshot', 'of the mount this folder is in'],
  ],
  run: async ({ mountpoint = '.' }, { message }, { settings, output }) => {
    const showStep = process.stderr.isTTY && !output.json;
    const { workspace, ...result } = await withMount(settings.home, mountpoint, async (control) => ({
      workspace: control.workspace,
      ...(await control.snapshot({ message: message ?? '', author: settings.author }, (step) => {
        if (showStep) process.stderr.write(`${CLEAR_LINE}${step}`);
      })),
    })).finally(() => {
      if (showStep) process.stderr.write(CLEAR_LINE);
    });
    await output.document({ workspace, ...result });
    if (!result.created) {
      await output.line(`nothing has changed since version ${String(result.seq)} of ${workspace}`);
      return;
    }
    await output.line(
      `version ${String(result.seq)} of ${workspace}: ${countText(result.changedFiles, 'change')}, ` +
        `${sizeText(result.storedBytes)} stored, sealed in ${durationText(result.sealMs)}, ` +
        `published in ${durationText(result.totalMs)}`,
    );
  },
});
