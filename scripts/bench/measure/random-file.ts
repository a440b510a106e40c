import { createCipheriv } from 'node:crypto';
import { open } from 'node:fs/promises';

const PIECE = Buffer.alloc(1024 * 1024);

/** Writes bytes that no compression and no deduplication makes fewer, the same ones each time: a key stream of AES. */
export async function writeRandomFile(file: string, sizeBytes: number): Promise<void> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 'bench'), Buffer.alloc(16));
  const handle = await open(file, 'w');
  try {
    for (let at = 0; at < sizeBytes; at += PIECE.length) {
      await handle.write(cipher.update(PIECE.subarray(0, sizeBytes - at)));
    }
  } finally {
    await handle.close();
  }
}
