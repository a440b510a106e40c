import t from 'tap';
import { parsePathReference, parseReference, parseReferenceWithin } from '../../src/cli/reference.js';
import { parseSize } from '../../src/cli/size-setting.js';

t.test('a version is named by workspace, by number or by tag', async (t) => {
  t.same(parseReference('demo'), { workspace: 'demo', version: { kind: 'head' } });
  t.same(parseReference('demo@7'), { workspace: 'demo', version: { kind: 'seq', seq: 7 } });
  t.same(parseReference('demo@v1.0-rc'), { workspace: 'demo', version: { kind: 'tag', tag: 'v1.0-rc' } });
  for (const wrong of ['', '@7', 'demo@', 'demo@0', 'demo@-1', 'demo@7@8', 'demo@7x']) {
    t.throws(() => parseReference(wrong), { code: 'usage' }, wrong);
  }
});

t.test('the second version of a comparison may leave out the workspace', async (t) => {
  t.same(parseReferenceWithin('demo', '2'), parseReference('demo@2'));
  t.same(parseReferenceWithin('demo', '@2'), parseReference('demo@2'));
  t.same(parseReferenceWithin('demo', 'stable'), parseReference('demo@stable'));
  t.same(parseReferenceWithin('demo', 'other@3'), parseReference('other@3'));
});

t.test('a path begins at the first colon and may hold anything', async (t) => {
  t.same(parsePathReference('demo'), { ...parseReference('demo'), path: undefined });
  t.same(parsePathReference('demo@7:a@b:c d'), { ...parseReference('demo@7'), path: Buffer.from('a@b:c d') });
  t.same(parsePathReference('demo:/é/'), { ...parseReference('demo'), path: Buffer.from('é') });
  t.same(parsePathReference('demo:'), { ...parseReference('demo'), path: Buffer.alloc(0) });
});

t.test('a size is read in binary and in decimal units', async (t) => {
  t.equal(parseSize('20GiB'), 20 * 2 ** 30);
  t.equal(parseSize('1.5 MiB'), 1.5 * 2 ** 20);
  t.equal(parseSize('512m'), 512 * 2 ** 20);
  t.equal(parseSize('20GB'), 20e9);
  t.equal(parseSize('4096'), 4096);
  for (const wrong of ['', 'GiB', '-1', '1e3', '20 parsecs', '99999999TiB'])
    t.equal(parseSize(wrong), undefined, wrong);
});
