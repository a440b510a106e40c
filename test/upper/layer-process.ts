import { S_IFREG } from '../../src/core/index.js';
import { LayerSet, UpperLayer } from '../../src/upper/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { newInode } from './new-inode.js';

/*
 * Commits one file after another, tells each number when its commit has returned, and seals now and then; to be killed.
 * Argument: the mount's folder.
 */
const layers = LayerSet.open(process.argv[2] ?? '');
let active = UpperLayer.open(layers.layerDir(layers.state.activeId), true);
for (let index = 0; ; index += 1) {
  const inode = newInode(active.allocateIno(), S_IFREG | 0o600);
  inode.size = 3000;
  active.writeData(inode, 0, patternedBytes(index, inode.size));
  active.putInode(inode);
  active.putDentry(1, Buffer.from(`file ${index}`), active.allocateCookie(), inode.ino);
  active.commit(String(index), Buffer.from(`reply ${index}`));
  // Blocks until the reader took it, as an answer to the kernel does.
  process.stdout.write(`${index}\n`);
  if (index % 40 === 39)
    active = layers.seal(active, { publishId: `p${index}`, message: '', author: '', sealedAtMs: 1 });
}
