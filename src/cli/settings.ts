import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { homedir, hostname, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  CACHE_BUDGET_DEFAULT_BYTES,
  CairnError,
  EMBED_BELOW_DEFAULT_BYTES,
  homeLayout,
} from '../core/index.js';
import type { ConfigFile } from './config-file.js';
import type { ParsedValues } from './parsed-values.js';
import { parseSize } from './size-setting.js';

/** What every command runs with; paths are absolute. */
export interface Settings {
  home: string;
  store: string;
  catalog: string;
  cacheBudgetBytes: number;
  embedBelowBytes: number;
  author: string;
  logLevel: string;
}

type SettingName = keyof ConfigFile;

const FLAGS: Readonly<Record<SettingName, string>> = {
  store: 'store',
  catalog: 'catalog',
  cacheSize: 'cache-size',
  embedBelow: 'embed-below',
  author: 'author',
  logLevel: 'log-level',
};

const SERVICE_SCHEMES = ['https://', 'http://'];

/** Whether it is the URL of a service. */
export function isServiceUrl(text: string): boolean {
  return SERVICE_SCHEMES.some((scheme) => text.startsWith(scheme)) && URL.canParse(text);
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

/** The user and machine that publish, unless `--author` says otherwise. */
function defaultAuthor(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    // A user id without an entry in the user database, as in many containers.
    return `${String(process.getuid?.() ?? 'unknown')}@${hostname()}`;
  }
}

/** Empty counts as not set, as the XDG specification has it for its variables. */
function environment(name: string): string | undefined {
  const value = process.env[name];
  return value === '' ? undefined : value;
}

function homeFolder(values: ParsedValues): string {
  const given = values['home'];
  if (given === '') throw new CairnError('usage', '--home is empty', { hint: 'give a folder' });
  if (typeof given === 'string') return resolve(given);
  const data = environment('XDG_DATA_HOME') ?? join(homedir(), '.local', 'share');
  return resolve(environment('CAIRN_HOME') ?? join(data, 'cairn'));
}

function fileUrl(scheme: 'file' | 'sqlite', path: string): string {
  return pathToFileURL(path).href.replace(/^file/, scheme);
}

function requireUrl(name: string, text: string, schemes: readonly string[], examples: string): string {
  if (schemes.some((scheme) => text.startsWith(scheme) && text.length > scheme.length)) return text;
  throw new CairnError('usage', `${name} "${text}" is not a URL of a kind that is known`, {
    hint: `as in ${examples}`,
  });
}

function requireSize(name: string, text: string | number): number {
  const bytes = typeof text === 'number' ? text : parseSize(text);
  if (bytes !== undefined) return bytes;
  throw new CairnError('usage', `${name} "${String(text)}" is not a size`, { hint: 'as in 512MiB or 20GiB' });
}

/**
 * Settings from flags, then `CAIRN_*` variables, then `config.json` of the home folder, then defaults. Throws `usage` for a
 * value that makes no sense, wherever it comes from.
 */
export async function readSettings(values: ParsedValues): Promise<Settings> {
  const home = homeFolder(values);
  const configPath = homeLayout.config(home);
  const config = existsSync(configPath)
    ? await (await import('./config-file.js')).readConfigFile(configPath)
    : {};

  const setting = (name: SettingName): string | number | undefined => {
    const flag = values[FLAGS[name]];
    if (typeof flag === 'string') return flag;
    return environment(`CAIRN_${FLAGS[name].toUpperCase().replaceAll('-', '_')}`) ?? config[name];
  };
  const text = (name: SettingName, fallback: () => string): string => String(setting(name) ?? fallback());

  const logLevel = text('logLevel', () => 'info');
  if (!LOG_LEVELS.includes(logLevel)) {
    throw new CairnError('usage', `log level "${logLevel}" is not known`, {
      hint: `one of ${LOG_LEVELS.join(', ')}`,
    });
  }
  const catalog = requireUrl(
    'catalog',
    text('catalog', () => fileUrl('sqlite', homeLayout.catalog(home))),
    ['sqlite:///', 'postgres://', 'postgresql://', ...SERVICE_SCHEMES],
    'sqlite:///srv/catalog.sqlite, postgres://host/database or https://host',
  );
  return {
    home,
    // A service has both.
    store: requireUrl(
      'store',
      text('store', () => (isServiceUrl(catalog) ? catalog : fileUrl('file', homeLayout.store(home)))),
      ['file:///', 's3://', ...SERVICE_SCHEMES],
      'file:///srv/store, s3://bucket/prefix or https://host',
    ),
    catalog,
    cacheBudgetBytes: requireSize('cache size', setting('cacheSize') ?? CACHE_BUDGET_DEFAULT_BYTES),
    embedBelowBytes: requireSize('embed-below', setting('embedBelow') ?? EMBED_BELOW_DEFAULT_BYTES),
    author: text('author', defaultAuthor),
    logLevel,
  };
}

/** Makes the home folder, for its user alone. One that is there keeps its permissions. */
export async function ensureHome(home: string): Promise<void> {
  await mkdir(home, { recursive: true, mode: 0o700 });
}
