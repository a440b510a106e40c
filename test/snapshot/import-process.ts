/** Imports a directory and kills itself when so many files are done: `import-process <home> <dir> <files>`. */
import { openStores } from './stores.js';

const [home = '', dir = '', filesText = ''] = process.argv.slice(2);
const stores = await openStores(home);
await stores.import(dir, {
  onProgress: ({ filesDone }) => {
    if (filesDone >= Number(filesText)) process.kill(process.pid, 'SIGKILL');
  },
});
