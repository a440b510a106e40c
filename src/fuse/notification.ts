import { OUT_HEADER_BYTES } from './protocol.js';

/** A message to the kernel that answers no request (`unique` 0): what it is about stands where a reply has its error. */
export function notification(code: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const message = Buffer.alloc(OUT_HEADER_BYTES + body.length);
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(code, 4);
  body.copy(message, OUT_HEADER_BYTES);
  return message;
}
