import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import t from 'tap';

const CAIRN = fileURLToPath(new URL('../../../bin/cairn', import.meta.url));

const folder = mkdtempSync(path.join(tmpdir(), 'cairn-loading-'));
t.teardown(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Writes down, as a process ends, which libraries it has mapped. */
const mapped = path.join(folder, 'mapped');
const probe = path.join(folder, 'probe.cjs');
writeFileSync(
  probe,
  `const fs = require('node:fs');
   process.on('exit', () => fs.writeFileSync(${JSON.stringify(mapped)}, fs.readFileSync('/proc/self/maps')));`,
);

async function nativeModulesOf(args: readonly string[]): Promise<string[]> {
  rmSync(mapped, { force: true });
  await execa(process.execPath, ['--require', probe, CAIRN, ...args], {
    reject: false,
    env: { CAIRN_HOME: path.join(folder, 'home') },
  });
  const names = readFileSync(mapped, 'utf8').match(/[^/\n]+\.node$/gmu);
  return [...new Set(names)];
}

// Commands that a person waits for once loaded three native modules that they had no use for, which took longer than their work.
t.test('a command begins without native code', async (t) => {
  t.not((await nativeModulesOf(['doctor'])).length, 0, 'one that needs some is seen to have it');
  for (const args of [['--version'], ['mount', 'work', '/nowhere'], ['snapshot', folder], ['stats', folder]])
    t.same(await nativeModulesOf(args), [], args.join(' '));
});

t.test('what a process loads at once is in few files', (t) => {
  const built = path.join(path.dirname(CAIRN), '../dist/cairn');
  if (!existsSync(built)) throw new Error('not built');
  for (const entry of ['cairn.js', 'supervisor-main.js', 'session-thread.js', 'feeder-thread.js']) {
    const loaded = new Set([entry]);
    // A set goes on to what is added meanwhile.
    for (const file of loaded) {
      const code = readFileSync(path.join(built, file), 'utf8');
      for (const [, name] of code.matchAll(/^(?:import|\} from) .*"\.\/([^"]+)";$/gmu))
        if (name) loaded.add(name);
    }
    t.ok(loaded.size <= 3, `${entry} comes in ${[...loaded].join(', ')}`);
  }
  t.end();
});
