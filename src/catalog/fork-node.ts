/**
 * Listing any version at the cost of what it holds needs rows found by "an interval of versions that contains seq", in order of
 * path. This is the relational interval tree (Kriegel, Pötke, Seidl: "Managing Intervals Efficiently in Object-Relational
 * Databases", VLDB 2000): versions are the nodes of a search tree that exists only as arithmetic, a number's height being
 * its trailing zero bits, and an interval is kept at the highest node it contains. Intervals that contain `seq` are then all
 * kept at ancestors of `seq` (or at itself), of which there are at most 31.
 *
 * All rows kept at a node hold in that node's version, so a listing reads at most log2(versions) times the rows of one
 * version, however many versions there are, and a seek for each node that keeps nothing.
 */

/** The node of rows that hold to the head: no version has this number. */
export const OPEN_FORK = 0;

/** Versions a workspace may have; the height of the tree. */
export const MAX_SEQ = 2 ** 31 - 1;

/** The node that keeps a row of the versions `fromSeq` to `toSeq` - 1: the number among them with the most trailing zeros. */
export function forkNode(fromSeq: number, toSeq: number): number {
  let node = toSeq - 1;
  for (;;) {
    const higher = node - lowestBit(node);
    if (higher < fromSeq) return node;
    node = higher;
  }
}

/**
 * The nodes that may keep a closed row of version `seq`. Those of versions yet to come are among them: a version may be published
 * between a reader's two statements.
 */
export function forkNodesOf(seq: number): number[] {
  const nodes: number[] = [];
  for (let bit = lowestBit(seq); bit <= MAX_SEQ; bit *= 2)
    nodes.push((Math.floor(seq / (2 * bit)) * 2 + 1) * bit);
  return nodes;
}

/** Arithmetic, because the bitwise operators stop at 32 bits. */
function lowestBit(value: number): number {
  let bit = 1;
  while (value % (2 * bit) === 0) bit *= 2;
  return bit;
}
