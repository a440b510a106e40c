import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { readConfigFile } from '../../../src/cli/config-file.js';
import { CairnError, checkedLine } from '../../../src/core/index.js';
import type { MountRequest } from '../../../src/daemon/index.js';
import { MountFolder } from '../../../src/daemon/mount-folder.js';
import { ReadOnlyStack } from '../../../src/daemon/read-only-stack.js';
import { mutatedJson } from '../mutate.js';
import type { Target } from '../target.js';

const CONFIG = {
  store: 's3://bucket/prefix',
  catalog: 'sqlite:///catalog',
  cacheSize: '20GiB',
  embedBelow: 256,
  author: 'somebody',
  logLevel: 'info',
};

const REQUEST: MountRequest = {
  home: '/home',
  store: 'file:///store',
  catalog: 'sqlite:///catalog',
  embedBelowBytes: 256,
  workspace: 'work',
  seq: 3,
  mountpoint: '/mnt',
  readOnly: false,
  follow: true,
  allowOther: false,
  cacheBudgetBytes: 1 << 30,
  logLevel: 'info',
  foreground: false,
};

const BASE = { workspace: 'work', seq: 1, root: 'ab'.repeat(32) };

export const settings: Target = {
  name: 'settings',
  promise:
    'config.json, request.json and base.json are what they should be, or refused by a line for a person',
  cases: 1500,
  outcomes: ['read', 'refused'],
  begin: async (dir) => {
    const folder = new MountFolder(path.join(dir, 'mount'));
    mkdirSync(folder.dir);
    return Promise.resolve({
      run: async (random) => {
        try {
          switch (random.below(3)) {
            case 0: {
              const file = path.join(dir, 'config.json');
              writeFileSync(file, mutatedJson(CONFIG, random), 'latin1');
              await readConfigFile(file);
              break;
            }
            case 1:
              writeFileSync(
                path.join(folder.dir, 'request.json'),
                checkedLine(mutatedJson({ format: 2, ...REQUEST }, random)),
                'latin1',
              );
              checkLike(REQUEST, folder.request());
              break;
            default:
              writeFileSync(
                path.join(folder.dir, 'base.json'),
                checkedLine(mutatedJson(BASE, random)),
                'latin1',
              );
              checkLike(BASE, ReadOnlyStack.stateIn(folder)?.base);
          }
          return 'read';
        } catch (error) {
          if (!(error instanceof CairnError)) throw error;
          return 'refused';
        }
      },
      end: () => undefined,
    });
  },
};

/** Every field is there, of its type; only the version may be left open. */
function checkLike(sample: object, read: object | undefined): void {
  for (const [name, value] of Object.entries(sample)) {
    const found = (read as Record<string, unknown> | undefined)?.[name];
    if (name === 'seq' && found === undefined && 'home' in sample) continue;
    if (typeof found !== typeof value) throw new Error(`${name} is ${String(found)}`);
  }
}
