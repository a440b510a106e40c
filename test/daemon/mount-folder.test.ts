import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { ManifestRoot } from '../../src/core/index.js';
import type { MountRequest } from '../../src/daemon/index.js';
import { MountFolder } from '../../src/daemon/mount-folder.js';
import { ReadOnlyStack } from '../../src/daemon/read-only-stack.js';

const REQUEST: MountRequest = {
  home: '/home',
  store: 'file:///store',
  catalog: 'sqlite:///catalog',
  embedBelowBytes: 256,
  workspace: 'work',
  seq: 3,
  mountpoint: '/mnt',
  readOnly: true,
  follow: false,
  allowOther: false,
  cacheBudgetBytes: 1024,
  logLevel: 'info',
  foreground: false,
};
const BASE = { workspace: 'work', seq: 3, root: 'ab'.repeat(32) as ManifestRoot };

t.test('every flipped byte and every truncation of what a mount wrote down is refused', (t) => {
  const folder = new MountFolder(join(t.testdir({}), 'mounts', 'mount'));
  folder.create(REQUEST);
  ReadOnlyStack.write(folder, { base: BASE, retained: [] });
  t.match(folder.request(), REQUEST);
  t.same(ReadOnlyStack.stateIn(folder)?.base, BASE);
  for (const [name, read] of [
    ['request.json', () => folder.request()],
    ['base.json', () => ReadOnlyStack.stateIn(folder)?.base],
  ] as const) {
    const file = join(folder.dir, name);
    const whole = readFileSync(file);
    let believed = 0;
    const isRefused = (damaged: Buffer): void => {
      writeFileSync(file, damaged);
      try {
        read();
        believed += 1;
      } catch (error) {
        if (!(error instanceof Error && error.message.includes(file))) throw error;
      }
    };
    for (let at = 0; at < whole.length; at++) {
      isRefused(whole.subarray(0, at));
      for (let bit = 0; bit < 8; bit++) {
        const damaged = Buffer.from(whole);
        damaged[at] = (damaged[at] ?? 0) ^ (1 << bit);
        isRefused(damaged);
      }
    }
    t.equal(believed, 0, `of ${String(whole.length * 9)} damaged ${name}`);
    writeFileSync(file, whole);
    read();
  }
  t.end();
});
