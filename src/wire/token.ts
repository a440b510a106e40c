import { createPrivateKey, createPublicKey, randomBytes, sign, verify, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { bytesOfJsonPath, CairnError, jsonPath } from '../core/index.js';
import type { AccessLimit } from './access.js';
import { globSchema, jsonPathSchema, rightsSchema } from './schemas.js';

/**
 * A token is `cairn_<id>`, the blocks that limit it, each with its signature, and a secret, with dots between. The secret is the seed of an
 * Ed25519 key. The first key's public half is in the catalog, which so can verify a token and cannot make one. Whoever holds a token
 * derives a weaker one without asking anybody: a block that holds a limit and the public half of a new key, signed by the key at
 * hand, whose seed the new one's then replaces. Nobody gets from a weaker token back to a stronger: that seed is not in it. (As Biscuit
 * tokens do.)
 */

const PREFIX = 'cairn_';
const ID_BYTES = 9;
const SEED_BYTES = 32;

/** How often a token may be derived from a derived one, and how long its text may be: what a request may cost before it is known. */
export const TOKEN_DEPTH_MAX = 8;
export const TOKEN_LENGTH_MAX = 6144;

// RFC 8410: what stands before the 32 bytes of an Ed25519 key.
const PRIVATE_KEY_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_KEY_HEAD = Buffer.from('302a300506032b6570032100', 'hex');

/** Strict: a limit that this release does not know must not be passed over. */
const blockSchema = z.strictObject({
  workspace: globSchema.optional(),
  path: jsonPathSchema.optional(),
  can: rightsSchema.optional(),
  untilMs: z.int().nonnegative().optional(),
  next: z.string(),
});

interface TokenParts {
  id: string;
  blocks: { payload: string; signature: string }[];
  seed: Buffer;
}

/** A new token without limits, and the public half of its key. */
export function mintToken(): { id: string; token: string; publicKey: Buffer } {
  // Letters and digits alone: an id may be the argument of a command.
  const id = randomBytes(ID_BYTES).toString('hex');
  const seed = randomBytes(SEED_BYTES);
  return { id, token: `${PREFIX}${id}.${seed.toString('base64url')}`, publicKey: publicHalf(seed) };
}

/** The id of the token that `token` is, or was derived from; undefined for what is no token. */
export function tokenId(token: string): string | undefined {
  return parseToken(token)?.id;
}

/**
 * A token that may at most what `token` may, and what `limit` leaves of that.
 * @throws CairnError `usage` for what is no token, or one that was derived too often.
 */
export function attenuateToken(token: string, limit: AccessLimit): string {
  const parts = parseToken(token);
  if (parts === undefined)
    throw new CairnError('usage', 'that is no token', { hint: 'a token begins with cairn_' });
  if (parts.blocks.length >= TOKEN_DEPTH_MAX) {
    throw new CairnError('usage', `a token is derived at most ${String(TOKEN_DEPTH_MAX)} times`, {
      hint: 'derive it from one that was derived less often',
    });
  }
  const nextSeed = randomBytes(SEED_BYTES);
  const block: z.input<typeof blockSchema> = {
    workspace: limit.workspace,
    path: limit.path === undefined ? undefined : jsonPath(limit.path),
    can: limit.can === undefined ? undefined : [...limit.can],
    untilMs: limit.untilMs,
    next: publicHalf(nextSeed).toString('base64url'),
  };
  const payload = Buffer.from(JSON.stringify(block)).toString('base64url');
  const signature = sign(null, signedBytes(parts.id, payload), privateKey(parts.seed)).toString('base64url');
  const text = tokenText({ id: parts.id, blocks: [...parts.blocks, { payload, signature }], seed: nextSeed });
  if (text.length <= TOKEN_LENGTH_MAX) return text;
  throw new CairnError('usage', `the token would be longer than ${String(TOKEN_LENGTH_MAX)} characters`, {
    hint: 'limit it to a shorter path',
  });
}

/** The limits that were added to a token, if each was added by who held it and the secret is that of the last; else undefined. */
export function verifyToken(token: string, publicKey: Buffer): AccessLimit[] | undefined {
  const parts = parseToken(token);
  if (parts === undefined) return undefined;
  const limits: AccessLimit[] = [];
  let current = publicKey;
  for (const { payload, signature } of parts.blocks) {
    const key = createPublicKey({
      key: Buffer.concat([PUBLIC_KEY_HEAD, current]),
      format: 'der',
      type: 'spki',
    });
    if (!verify(null, signedBytes(parts.id, payload), key, Buffer.from(signature, 'base64url')))
      return undefined;
    const block = parsedBlock(payload);
    if (block === undefined) return undefined;
    const { next, path, ...limit } = block;
    current = Buffer.from(next, 'base64url');
    if (current.length !== SEED_BYTES) return undefined;
    limits.push({ ...limit, ...(path !== undefined && { path: bytesOfJsonPath(path) }) });
  }
  return publicHalf(parts.seed).equals(current) ? limits : undefined;
}

function parsedBlock(payload: string): z.infer<typeof blockSchema> | undefined {
  try {
    return blockSchema.safeParse(JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))).data;
  } catch {
    return undefined;
  }
}

const PART = /^[A-Za-z0-9_-]+$/;

function parseToken(token: string): TokenParts | undefined {
  if (token.length > TOKEN_LENGTH_MAX || !token.startsWith(PREFIX)) return undefined;
  const [id = '', ...rest] = token.slice(PREFIX.length).split('.');
  const seedText = rest.pop();
  if (!/^[0-9a-f]{18}$/.test(id) || seedText === undefined || !rest.every((part) => PART.test(part)))
    return undefined;
  if (!PART.test(seedText) || rest.length % 2 !== 0 || rest.length > 2 * TOKEN_DEPTH_MAX) return undefined;
  const seed = Buffer.from(seedText, 'base64url');
  if (seed.length !== SEED_BYTES) return undefined;
  const blocks = [];
  for (let at = 0; at < rest.length; at += 2) {
    blocks.push({ payload: rest[at] ?? '', signature: rest[at + 1] ?? '' });
  }
  return { id, blocks, seed };
}

function tokenText({ id, blocks, seed }: TokenParts): string {
  const limits = blocks.map(({ payload, signature }) => `${payload}.${signature}.`).join('');
  return `${PREFIX}${id}.${limits}${seed.toString('base64url')}`;
}

/** The id is signed as well: a block is of one token. */
function signedBytes(id: string, payload: string): Buffer {
  return Buffer.from(`cairn token limit\n${id}\n${payload}`);
}

function privateKey(seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PRIVATE_KEY_HEAD, seed]), format: 'der', type: 'pkcs8' });
}

function publicHalf(seed: Buffer): Buffer {
  const der = createPublicKey(privateKey(seed)).export({ format: 'der', type: 'spki' });
  return der.subarray(PUBLIC_KEY_HEAD.length);
}
