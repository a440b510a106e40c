import { decodeBlock, encodeBlock, type EncodedBlock } from '../../../src/blocks/index.js';
import { BLOCK_MAX_BYTES, CairnError } from '../../../src/core/index.js';
import { mutated } from '../mutate.js';
import type { Target } from '../target.js';

const CANARY = 0xc5;
const HEADER_BYTES = 16;

export const blocks: Target = {
  name: 'blocks',
  promise: 'a block object that was changed is refused, and nothing is written beyond its raw length',
  cases: 4000,
  outcomes: ['refused', 'read'],
  begin: async () => {
    const samples = [
      Buffer.from([1]),
      Buffer.alloc(1000, 'abc'),
      Buffer.from(Array.from({ length: 4000 }, (_, at) => (at * 7919) >> 3)),
      Buffer.alloc(300_000, 'compresses well '),
      Buffer.alloc(BLOCK_MAX_BYTES),
    ].map((raw) => ({ raw, encoded: encodeBlock(raw) }));
    const scratch = Buffer.alloc(BLOCK_MAX_BYTES, CANARY);
    return Promise.resolve({
      run: (random) => {
        const { raw, encoded } = random.pick(samples);
        const object = random.once(50)
          ? Buffer.from(encoded.object)
          : damaged(encoded, () => mutated(Buffer.from(encoded.object), random));
        // A header that says what is there, so that what is in it is looked at.
        if (random.once(2) && object.length > HEADER_BYTES)
          object.writeUInt32LE(object.length - HEADER_BYTES, 12);
        const rawLength =
          object.length < HEADER_BYTES ? 0 : Math.min(object.readUInt32LE(8), BLOCK_MAX_BYTES);
        const outcome = read(encoded, raw, object, scratch);
        const end = Math.min(BLOCK_MAX_BYTES, rawLength + 4096);
        if (scratch.subarray(rawLength, end).some((byte) => byte !== CANARY))
          throw new Error(`bytes were written behind ${String(rawLength)}`);
        scratch.fill(CANARY, 0, rawLength);
        return outcome;
      },
      end: () => undefined,
    });
  },
};

function read({ id }: EncodedBlock, raw: Buffer, object: Buffer, scratch: Buffer): string {
  try {
    if (!decodeBlock(id, object, scratch).equals(raw))
      throw new Error('other bytes were read than were stored');
    return 'read';
  } catch (error) {
    if (!(error instanceof CairnError) || error.code !== 'corrupt') throw error;
    return 'refused';
  }
}

/** What is unchanged by chance is no damage. */
function damaged(encoded: EncodedBlock, make: () => Buffer): Buffer {
  for (;;) {
    const object = make();
    if (!object.equals(encoded.object)) return object;
  }
}
