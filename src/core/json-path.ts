import { isUtf8 } from 'node:buffer';

/** A path in JSON: as text when its bytes are UTF-8, else as base64. */
export type JsonPath = { path: string } | { pathBase64: string };

export function jsonPath(path: Buffer): JsonPath {
  return isUtf8(path) ? { path: path.toString('utf8') } : { pathBase64: path.toString('base64') };
}

/** The bytes of a path in JSON. */
export function bytesOfJsonPath(path: JsonPath): Buffer {
  return 'path' in path ? Buffer.from(path.path, 'utf8') : Buffer.from(path.pathBase64, 'base64');
}
