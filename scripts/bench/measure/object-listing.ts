import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';

/** Of one page, as S3 has it. */
const KEYS_MAX = 1000;

interface Listed {
  key: string;
  isPrefix: boolean;
}

/**
 * A page of a listing by directory, of either version of the request: GET /bucket?prefix=a/b/&delimiter=/ (the S3 API's ListObjects
 * and ListObjectsV2). One without a delimiter, which lists all below, shows no more than its own directory.
 */
export async function listObjects(folder: string, bucket: string, query: URLSearchParams): Promise<string> {
  const prefix = query.get('prefix') ?? '';
  const after = query.get('continuation-token') ?? query.get('start-after') ?? query.get('marker') ?? '';
  const wanted = Math.min(KEYS_MAX, Number(query.get('max-keys') ?? KEYS_MAX));
  const rest = (await entriesAt(folder, prefix)).filter(({ key }) => key > after);
  const page = rest.slice(0, wanted);
  const next = rest.length > page.length ? (page.at(-1)?.key ?? '') : undefined;
  const parts = await Promise.all(page.map((entry) => element(folder, entry)));
  return [
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
    `<Name>${text(bucket)}</Name><Prefix>${text(prefix)}</Prefix><Delimiter>/</Delimiter><MaxKeys>${wanted}</MaxKeys>`,
    `<KeyCount>${page.length}</KeyCount><IsTruncated>${String(next !== undefined)}</IsTruncated>`,
    next === undefined
      ? ''
      : `<NextMarker>${text(next)}</NextMarker><NextContinuationToken>${text(next)}</NextContinuationToken>`,
    ...parts,
    '</ListBucketResult>',
  ].join('');
}

/** What begins with the prefix in the directory that it names, in the order of keys. Symbolic links are no objects. */
async function entriesAt(folder: string, prefix: string): Promise<Listed[]> {
  const directory = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  const entries = await readdir(path.join(folder, directory), { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile() || entry.isDirectory())
    .map((entry) => ({
      key: `${directory}${entry.name}${entry.isDirectory() ? '/' : ''}`,
      isPrefix: entry.isDirectory(),
    }))
    .filter(({ key }) => key.startsWith(prefix))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}

async function element(folder: string, { key, isPrefix }: Listed): Promise<string> {
  if (isPrefix) return `<CommonPrefixes><Prefix>${text(key)}</Prefix></CommonPrefixes>`;
  const { size, mtime } = await stat(path.join(folder, key));
  const about = `<LastModified>${mtime.toISOString()}</LastModified><ETag>"${size.toString(16)}-1"</ETag>`;
  return `<Contents><Key>${text(key)}</Key>${about}<Size>${size}</Size><StorageClass>STANDARD</StorageClass></Contents>`;
}

function text(value: string): string {
  return value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
