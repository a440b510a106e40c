import t from 'tap';
import type { BlockId } from '../../src/core/index.js';
import { RecentBlocks } from '../../src/snapshot/index.js';

void t.test('blocks that fit together are asked for once, however small each is', async (t) => {
  let asked = 0;
  const recent = new RecentBlocks({
    get: () => {
      asked += 1;
      return Promise.resolve(Buffer.alloc(256 * 1024));
    },
  });
  const ids = Array.from({ length: 100 }, (_, index) => String(index).padStart(64, '0') as BlockId);
  for (let round = 0; round < 3; round++) for (const id of ids) await recent.get(id);
  t.equal(asked, 100);
});
