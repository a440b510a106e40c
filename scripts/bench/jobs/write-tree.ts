import path from 'node:path';
import { countEntries, digestTree, expectCount } from '../measure/scans.js';
import type { Job } from './job.js';

export const writeTree: Job = {
  name: 'tar-x',
  title: 'The whole tree, written and removed',
  async measure(bench, run) {
    const tree = await bench.tree(run);
    const places = await bench.places(run);
    const archive = path.join(bench.folder, 'tree.tar');
    await bench.commands.shell('tar -C "$1" -cf "$2" .', [tree.root, archive]);
    const goal = { atMost: 2, of: bench.local };
    const extract = run.row({ title: 'tar x of the tree', unit: 'ms', reference: bench.local, goal });
    const remove = run.row({ title: 'rm -rf of the tree', unit: 'ms', reference: bench.local, goal });
    const { files, directories, symlinks } = tree.counts;
    await bench.inRounds(places, async (place, round) => {
      const folder = await bench.emptyFolder(path.join(place.work, 'tree'));
      await bench.commands.shell('cat "$1" >/dev/null', [archive]);
      await bench.time(extract, place, () => bench.commands.shell('tar -C "$1" -xf "$2"', [folder, archive]));
      const entries = Number((await countEntries(bench.commands, folder)).stdout);
      expectCount(`${place.system}: entries`, entries, files + directories + symlinks + 1);
      if (round === 0 && (await digestTree(bench.commands, folder)) !== (await tree.digest())) {
        throw new Error(`${place.system}: what tar wrote has other content than the tree`);
      }
      await bench.time(remove, place, () => bench.commands.run('rm', ['-rf', folder]));
      // Fails where the folder is not gone.
      await bench.commands.shell('test ! -e "$1"', [folder]);
    });
    await bench.commands.run('rm', [archive]);
  },
};
