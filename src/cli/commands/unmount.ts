import { resolve } from 'node:path';
import { defineCommand } from '../command.js';

export const unmountCommand = defineCommand({
  name: 'unmount',
  summary: 'unmount a workspace; its edits are kept',
  details:
    'Unmounts a workspace. Edits that are not yet in a snapshot are kept, and are there again at the next mount.',
  positionals: [{ name: 'mountpoint', describe: 'the folder it is mounted on' }],
  options: {},
  examples: [['unmount ~/demo', 'unmount']],
  run: async ({ mountpoint }, _options, { settings, output }) => {
    const { connectMount } = await import('../../daemon/index.js');
    const mount = await connectMount(settings.home, [resolve(mountpoint)]);
    try {
      await mount.unmount();
    } finally {
      mount.close();
    }
    await output.document({ mountpoint: resolve(mountpoint) });
    await output.line(`${resolve(mountpoint)} is unmounted`);
  },
});
