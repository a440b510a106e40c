import t from 'tap';
import { forkNode, forkNodesOf, MAX_SEQ } from '../../src/catalog/fork-node.js';

void t.test(
  'every version of an interval finds it among its fork nodes, and all at one node share a version',
  (t) => {
    const missed: number[][] = [];
    const versions = 130;
    for (let fromSeq = 1; fromSeq < versions; fromSeq++) {
      for (let toSeq = fromSeq + 1; toSeq <= versions; toSeq++) {
        const node = forkNode(fromSeq, toSeq);
        if (node < fromSeq || node >= toSeq) missed.push([fromSeq, toSeq]);
        for (let seq = fromSeq; seq < toSeq; seq++) {
          if (!forkNodesOf(seq).includes(node)) missed.push([fromSeq, toSeq, seq]);
        }
      }
    }
    t.same(missed, []);
    t.end();
  },
);

void t.test('the last version a workspace may have is found as well', (t) => {
  t.equal(forkNode(MAX_SEQ - 1, MAX_SEQ), MAX_SEQ - 1);
  t.equal(forkNode(1, MAX_SEQ), 2 ** 30);
  t.ok(forkNodesOf(MAX_SEQ - 1).includes(2 ** 30));
  t.ok(forkNodesOf(1).length <= 31);
  t.end();
});
