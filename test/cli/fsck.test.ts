import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { randomBytesOf } from '../fixtures/oddities.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { jsonLines, runCairn } from './run-cairn.js';

const dir = scratchFolder(t);
const home = join(dir, 'home');
mkdirSync(join(dir, 'tree'));
writeFileSync(join(dir, 'tree', 'small'), 'small\n');
writeFileSync(join(dir, 'tree', 'a\nb'), randomBytesOf(1, 300_000));

/** The object that holds the large file. */
function largeObject(): string {
  const blocks = join(home, 'store', 'blocks');
  const objects = readdirSync(blocks, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.length > 60,
  );
  const large = objects.find((name) => readFileSync(join(blocks, name)).length > 250_000);
  return join(blocks, large ?? '');
}

t.test('before there is anything, nothing is wrong', async (t) => {
  t.match(await runCairn(home, ['fsck']), { code: 0, stdout: /nothing is wrong/, stderr: '' });
});

t.test('a sound home ends with 0, for a person and as one document', async (t) => {
  await runCairn(home, ['import', join(dir, 'tree'), '--workspace', 'demo']);
  t.match(await runCairn(home, ['fsck', '--read-data']), {
    code: 0,
    stdout: /^checked 1 version, \d blocks, .*\nnothing is wrong\n$/,
  });
  const ran = await runCairn(home, ['fsck', 'demo@1', '--json']);
  t.equal(ran.code, 0);
  t.match(jsonLines(ran.stdout), [{ versions: 1, findings: 0, left: 0 }]);
});

t.test('damage is one line, with versions and paths as the shell takes them, and exit code 1', async (t) => {
  const object = largeObject();
  const bytes = readFileSync(object);
  chmodSync(object, 0o600);
  writeFileSync(
    object,
    Buffer.concat([bytes.subarray(0, -1), Buffer.from([bytes.readUInt8(bytes.length - 1) ^ 1])]),
  );
  const ran = await runCairn(home, ['fsck', 'demo', '--read-data']);
  t.equal(ran.code, 1);
  t.match(
    ran.stdout,
    /^block [0-9a-f]{64} in the store does not verify: [^\n]* \(demo@1; 'a'\$'\\n''b'\): [^\n]*\n/,
  );
  t.match(ran.stdout, /\n1 finding\n$/);
  t.equal(ran.stderr, '');
  const json = await runCairn(home, ['fsck', '--read-data', '--repair', '--json']);
  t.equal(json.code, 1, 'nothing here has a copy');
  t.match(jsonLines(json.stdout), [
    { finding: { place: 'store', versions: ['demo@1'], paths: [{ path: 'a\nb' }], pathCount: 1 } },
    { findings: 1, repaired: 0, left: 1 },
  ]);
  writeFileSync(object, bytes);
  t.match(await runCairn(home, ['fsck', '--read-data']), { code: 0 });
});

t.test('what is not there is told as everywhere', async (t) => {
  t.match(await runCairn(home, ['fsck', 'none']), { code: 3, stderr: /no workspace "none"/ });
  t.match(await runCairn(home, ['fsck', 'demo@7']), { code: 3, stderr: /no version 7/ });
  t.match(await runCairn(home, ['fsck', 'demo@']), { code: 2 });
  t.match(await runCairn(home, ['fsck', '--store', `file://${dir}/other`]), {
    code: 3,
    stderr: /^cairn: file:[^\n]* holds not one block[^\n]*: check --store and --catalog[^\n]*\n$/,
  });
});
