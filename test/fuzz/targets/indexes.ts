import path from 'node:path';
import { BLOCK_MAX_BYTES, CairnError, type ManifestRoot } from '../../../src/core/index.js';
import { decodeIndex, encodeIndex, rootOf } from '../../../src/manifest/manifest-index.js';
import { fetchManifest } from '../../../src/manifest/index.js';
import { StoppedClock } from '../../vfs/trees.js';
import { openStores, publishTree } from '../../vfs/workspace.js';
import { MemoryFileSystem } from '../../fixtures/memory-file-system.js';
import { mutated } from '../mutate.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';

const HEADER_BYTES = 24;
const RUN_BYTES = 40;
const ROOT = { uid: 0, gid: 0, pid: 1 };

export const indexes: Target = {
  name: 'indexes',
  promise:
    'an index object that is wrong is refused, under whatever root, before more is fetched than it may name',
  cases: 400,
  outcomes: ['refused', 'decoded', 'fetched'],
  begin: async (dir) => {
    const stores = await openStores(path.join(dir, 'stores'));
    const tree = new MemoryFileSystem({ clock: new StoppedClock(), owner: { uid: 0, gid: 0 } });
    for (let number = 0; number < 800; number++)
      tree.mkdir(1, Buffer.from(`directory-${String(number)}`.padEnd(200, '.')), 0o755, ROOT);
    const { root } = await publishTree(tree, stores, 64);
    const sound = await stores.objects.get(`manifests/${root}`);
    let number = 0;
    return {
      run: async (random) => {
        const bytes = random.once(20) ? Buffer.from(sound) : damaged(sound, random);
        const said = rootOf(bytes);
        if (said !== root) refuses(root, bytes);
        try {
          const index = decodeIndex(said, bytes);
          if (!encodeIndex(index).equals(bytes)) throw new Error('an index that says one thing in two ways');
          for (const { blockOffset, length } of index.runs)
            if (blockOffset + length > BLOCK_MAX_BYTES) throw new Error('a run beyond any block');
          // The bytes a wrong index names are another's, or not there: as openManifest has it, or refused.
          if (!random.once(4)) return 'decoded';
          const objects = { get: async () => Promise.resolve(bytes), put: async () => Promise.resolve() };
          await fetchManifest({
            root: said,
            dir: path.join(dir, String(++number)),
            blocks: stores.blocks,
            objects,
          });
          return 'fetched';
        } catch (error) {
          if (!(error instanceof CairnError) || !['corrupt', 'not-found'].includes(error.code)) throw error;
          return 'refused';
        }
      },
      end: () => stores.close(),
    };
  },
};

function refuses(root: ManifestRoot, bytes: Buffer): void {
  try {
    decodeIndex(root, bytes);
  } catch (error) {
    if (error instanceof CairnError && error.code === 'corrupt') return;
    throw error;
  }
  throw new Error('bytes of another hash were taken for this root');
}

/** Half of them with numbers that agree, so that what comes behind the header is looked at. */
function damaged(sound: Buffer, random: Random): Buffer {
  if (random.once(2)) return mutated(sound, random);
  const bytes = Buffer.from(sound);
  const runs = (bytes.length - HEADER_BYTES) / RUN_BYTES;
  const run = HEADER_BYTES + RUN_BYTES * random.below(runs);
  switch (random.below(4)) {
    case 0:
      bytes.writeUInt32LE(random.oddU32(), run);
      break;
    case 1:
      bytes.writeUInt32LE((random.oddU32() & ~0x3fff) >>> 0, run + 4);
      break;
    case 2:
      random.bytes(32).copy(bytes, run + 8);
      break;
    default:
      bytes.copy(bytes, run, HEADER_BYTES, HEADER_BYTES + RUN_BYTES);
  }
  let sum = 0;
  for (let at = HEADER_BYTES; at < bytes.length; at += RUN_BYTES) sum += bytes.readUInt32LE(at + 4);
  bytes.writeBigUInt64LE(BigInt(sum), 8);
  return bytes;
}
