import { mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, isOfShape, systemCode } from '../core/index.js';

const OTHERS = 0o077;

/**
 * The token for a service: `CAIRN_TOKEN`, else the file that `CAIRN_TOKEN_FILE` names, else what `cairn login` has written for the host; undefined where there is none.
 * Throws `access-denied` for a credentials file that others can read, `not-found` for a token file that is not there.
 */
export async function serviceToken(url: string, home: string): Promise<string | undefined> {
  const given = process.env['CAIRN_TOKEN'];
  if (given !== undefined && given !== '') return given;
  const file = process.env['CAIRN_TOKEN_FILE'];
  if (file !== undefined && file !== '') return (await textOf(file)).trim();
  const credentials = await readCredentials(home);
  return credentials[new URL(url).origin];
}

/** Keeps a token for all services at the host of `url`, for this user alone. */
export async function saveServiceToken(url: string, token: string, home: string): Promise<void> {
  const credentials = { ...(await readCredentials(home)), [new URL(url).origin]: token };
  await mkdir(home, { recursive: true, mode: 0o700 });
  const path = credentialsPath(home);
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.chmod(0o600);
    await file.writeFile(`${JSON.stringify(credentials, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

async function readCredentials(home: string): Promise<Readonly<Record<string, string>>> {
  const path = credentialsPath(home);
  let text: string;
  try {
    if (((await stat(path)).mode & OTHERS) !== 0) {
      throw new CairnError('access-denied', `${path} can be read by others`, { hint: `chmod 600 ${path}` });
    }
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return {};
    throw error;
  }
  try {
    const value: unknown = JSON.parse(text);
    if (isOfShape(value, {}) && isOfShape(Object.values(value as object), ['text']))
      return value as Readonly<Record<string, string>>;
  } catch {
    // As what is no JSON; its text is not to be told.
  }
  throw new CairnError('corrupt', `${path} is not what cairn login writes there`, {
    hint: 'remove it, and log in again',
  });
}

function credentialsPath(home: string): string {
  return join(home, 'credentials.json');
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    throw new CairnError('not-found', `the token file ${file} is not there`, {
      hint: 'CAIRN_TOKEN_FILE names it',
    });
  }
}
