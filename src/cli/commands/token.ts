import { readFileSync } from 'node:fs';
import type { TokenRecord } from '../../catalog/index.js';
import { CairnError, jsonPath } from '../../core/index.js';
import type { AccessLimit, Right } from '../../wire/index.js';
import { argumentBytes } from '../argument-bytes.js';
import { defineCommand } from '../command.js';
import type { Output } from '../output.js';
import { displayPath } from '../path-text.js';
import { timeText } from '../quantities.js';
import { ensureHome, type Settings } from '../settings.js';

interface Wishes {
  workspace: string | undefined;
  path: string | undefined;
  can: string | undefined;
  ttl: string | undefined;
}

const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

function parseTtl(text: string): number {
  const { count = '', unit = '' } = /^(?<count>[1-9]\d{0,4})(?<unit>[mhd])$/.exec(text)?.groups ?? {};
  const ms = Number(count) * (UNIT_MS[unit] ?? 0);
  if (ms > 0) return ms;
  throw new CairnError('usage', `--ttl "${text}" is not a time`, { hint: 'as in 30m, 12h or 30d' });
}

async function limitOf({ workspace, path, can, ttl }: Wishes): Promise<AccessLimit> {
  const { globSchema, RIGHTS } = await import('../../wire/index.js');
  if (workspace !== undefined && !globSchema.safeParse(workspace).success) {
    throw new CairnError('usage', `--workspace "${workspace}" names no workspaces`, {
      hint: 'as in demo, or team-*',
    });
  }
  const rights = can?.split(',').map((word) => word.trim());
  const unknown = rights?.find((word) => !RIGHTS.includes(word as Right));
  if (unknown !== undefined) {
    throw new CairnError('usage', `--can "${unknown}" is not known`, {
      hint: `of ${RIGHTS.join(', ')}, with commas between`,
    });
  }
  const bytes =
    path === undefined
      ? undefined
      : argumentBytes(path)
          .toString('latin1')
          .replaceAll(/^\/+|\/+$/g, '');
  return {
    workspace,
    path: bytes === undefined ? undefined : Buffer.from(bytes, 'latin1'),
    can: rights as Right[] | undefined,
    untilMs: ttl === undefined ? undefined : Date.now() + parseTtl(ttl),
  };
}

function rightsLine({
  workspace,
  path,
  can,
  expiresAtMs,
}: Pick<TokenRecord, 'workspace' | 'path' | 'can' | 'expiresAtMs'>): string {
  const where = path.length === 0 ? workspace : `${workspace}:${displayPath(path)}`;
  return `can ${can.join(', ')} in ${where}${expiresAtMs === undefined ? '' : ` until ${timeText(expiresAtMs)}`}`;
}

function recordDocument({ path, ...record }: TokenRecord): object {
  return { ...record, ...(path.length > 0 && jsonPath(path)) };
}

async function create(settings: Settings, wishes: Wishes, holder: string, output: Output): Promise<void> {
  const limit = await limitOf(wishes);
  if (limit.workspace === undefined) {
    throw new CairnError('usage', 'for which workspaces is the token?', {
      hint: 'give --workspace demo, or "*" for all',
    });
  }
  const { workspace, path = Buffer.alloc(0), can = ['read'], untilMs } = limit;
  const { withTokenRegister } = await import('../token-register.js');
  await withTokenRegister(settings, async (tokens) => {
    const { token, record } = await tokens.create({ holder, workspace, path, can, expiresAtMs: untilMs });
    await output.document({ token, ...recordDocument(record) });
    await output.line(token);
    if (!output.json)
      process.stderr.write(`token ${record.id} for ${holder} ${rightsLine(record)}; it is shown this once\n`);
  });
}

async function list(settings: Settings, output: Output): Promise<void> {
  const { withTokenRegister } = await import('../token-register.js');
  await withTokenRegister(settings, async (tokens) => {
    for (const record of await tokens.list()) {
      await output.document(recordDocument(record));
      const { revokedAtMs, expiresAtMs } = record;
      const hasEnded = expiresAtMs !== undefined && expiresAtMs <= Date.now();
      const state =
        revokedAtMs !== undefined ? `  revoked ${timeText(revokedAtMs)}` : hasEnded ? '  ended' : '';
      await output.line(`${record.id}  ${record.holder}  ${rightsLine(record)}${state}`);
    }
  });
}

async function revoke(settings: Settings, id: string, output: Output): Promise<void> {
  const { withTokenRegister } = await import('../token-register.js');
  await withTokenRegister(settings, async (tokens) => {
    const record = await tokens.revoke(id);
    await output.document(recordDocument(record));
    await output.line(`token ${id} of ${record.holder} opens nothing any more`);
  });
}

/** From standard input: arguments are seen by everybody on the machine. */
async function attenuate(wishes: Wishes, output: Output): Promise<void> {
  const limit = await limitOf(wishes);
  const { attenuateToken } = await import('../../wire/index.js');
  const token = attenuateToken(readFileSync(0, 'utf8').trim(), limit);
  await output.document({ token });
  await output.line(token);
}

export const tokenCommand = defineCommand({
  name: 'token',
  summary: 'make, list, revoke or weaken tokens of a service',
  details:
    'create makes a token and shows it once; list shows those there are; revoke ends one and all that were derived from it. attenuate reads a token from standard input and prints one that may less; it asks nobody.',
  positionals: [
    { name: 'action', describe: 'create, list, revoke or attenuate' },
    { name: 'id', describe: 'for revoke: as list shows it', optional: true },
  ],
  options: {
    workspace: { type: 'string', short: 'w', describe: 'name of a workspace, * for any characters' },
    path: { type: 'string', describe: 'a file, or a folder with all below it: nothing else is opened' },
    can: { type: 'string', describe: 'of read, write and admin, with commas between; read unless given' },
    ttl: { type: 'string', describe: 'how long it is good, as 12h or 30d; for ever unless given' },
    for: { type: 'string', describe: 'whom it is for: in the audit log, and as author of versions' },
  },
  examples: [
    ['token create --workspace "*" --can read,write,admin', 'for who administers the service'],
    ['token create --workspace demo --can read,write --ttl 30d --for ci', ''],
    ['token revoke 0123456789abcdef01', ''],
    ['token attenuate --path docs --ttl 1h < token', 'what may be handed on'],
  ],
  run: async ({ action, id }, options, { settings, output }) => {
    if ((action === 'revoke') !== (id !== undefined)) {
      throw new CairnError('usage', 'an id belongs to revoke', {
        hint: 'cairn token revoke <id>, as cairn token list shows it',
      });
    }
    await ensureHome(settings.home);
    switch (action) {
      case 'create':
        await create(settings, options, options.for ?? settings.author, output);
        return true;
      case 'list':
        await list(settings, output);
        return true;
      case 'revoke':
        await revoke(settings, id ?? '', output);
        return true;
      case 'attenuate':
        await attenuate(options, output);
        return true;
      default:
        throw new CairnError('usage', `cairn token does not "${action}"`, {
          hint: 'create, list, revoke or attenuate',
        });
    }
  },
});
