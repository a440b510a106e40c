import { createPrivateKey, sign } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import {
  Access,
  attenuateToken,
  mintToken,
  RIGHTS,
  TOKEN_DEPTH_MAX,
  TOKEN_LENGTH_MAX,
  tokenId,
  verifyToken,
  type AccessLimit,
} from '../../src/wire/index.js';

const accessOf = (...limits: AccessLimit[]): Access => new Access({ id: 'x', holder: 'ada' }, limits);

void t.test('a token verifies by its public half alone, and only by its own', async (t) => {
  const { id, token, publicKey } = mintToken();
  t.equal(tokenId(token), id);
  t.same(verifyToken(token, publicKey), []);
  t.equal(verifyToken(token, mintToken().publicKey), undefined);
  t.notOk(token.includes(publicKey.toString('base64url')), 'which is not in it');
});

void t.test('a derived token has the limits of all it was derived from', async (t) => {
  const { id, token, publicKey } = mintToken();
  const path = Buffer.from([0x61, 0xff]);
  const weaker = attenuateToken(token, { workspace: 'team-*', can: ['read', 'write'] });
  const weakest = attenuateToken(weaker, { path, can: ['read'], untilMs: 5 });
  t.equal(tokenId(weakest), id);
  t.same(verifyToken(weaker, publicKey), [{ workspace: 'team-*', can: ['read', 'write'] }]);
  const limits = verifyToken(weakest, publicKey) ?? [];
  t.same(limits, [
    { workspace: 'team-*', can: ['read', 'write'] },
    { path, can: ['read'], untilMs: 5 },
  ]);
  const access = accessOf(...limits);
  t.same([...access.rightsIn('team-a')], ['read']);
  t.same([...access.rightsIn('other')], []);
  t.equal(access.untilMs, 5);
});

void t.test('no limit is taken off, changed, exchanged, or put in front', async (t) => {
  const { token, publicKey } = mintToken();
  const weaker = attenuateToken(token, { can: ['read'] });
  const weakest = attenuateToken(weaker, { path: Buffer.from('a') });
  const other = attenuateToken(mintToken().token, { can: ['read', 'write'] });
  const [head = '', first = '', firstSignature = '', second = '', secondSignature = '', seed = ''] =
    weakest.split('.');
  const [, otherBlock = '', otherSignature = '', otherSeed = ''] = other.split('.');
  const forged = [
    [head, seed],
    [head, first, firstSignature, seed],
    [head, second, secondSignature, seed],
    [head, second, secondSignature, first, firstSignature, seed],
    [head, otherBlock, otherSignature, otherSeed],
    [head, first, firstSignature, otherBlock, otherSignature, otherSeed],
    [head, first, firstSignature, second, firstSignature, seed],
    [head, first, firstSignature, second, secondSignature, otherSeed],
    [head, first, firstSignature, second, secondSignature],
    [head, Buffer.from('{"next":"x"}').toString('base64url'), firstSignature, seed],
  ];
  t.ok(verifyToken(weakest, publicKey), 'as it is it is good');
  for (const parts of forged) t.equal(verifyToken(parts.join('.'), publicKey), undefined);
});

void t.test('a token in which one character is another opens nothing, or what it did', async () => {
  const { token, publicKey } = mintToken();
  const weaker = attenuateToken(token, { workspace: 'w', can: ['read'] });
  const limits = verifyToken(weaker, publicKey);
  fc.assert(
    fc.property(
      fc.nat(weaker.length - 1),
      fc.constantFrom('A', 'b', '_', '-', '.', '0', '\n', 'é'),
      (at, by) => {
        const changed = weaker.slice(0, at) + by + weaker.slice(at + 1);
        const found = verifyToken(changed, publicKey);
        // The last bits of base64 may stand for nothing.
        return found === undefined || JSON.stringify(found) === JSON.stringify(limits);
      },
    ),
    { numRuns: 500 },
  );
});

void t.test('what a token may cost is bounded before it is looked at', async (t) => {
  const { token, publicKey } = mintToken();
  let derived = token;
  for (let depth = 0; depth < TOKEN_DEPTH_MAX; depth++) derived = attenuateToken(derived, {});
  t.ok(verifyToken(derived, publicKey));
  t.throws(() => attenuateToken(derived, {}), { code: 'usage' });
  t.throws(() => attenuateToken(token, { path: Buffer.alloc(TOKEN_LENGTH_MAX) }), { code: 'usage' });
  t.throws(() => attenuateToken('something else', {}), { code: 'usage', message: 'that is no token' });
  t.equal(tokenId('x'.repeat(TOKEN_LENGTH_MAX + 1)), undefined);
});

void t.test('a limit of a kind that is not known opens nothing, rather than being passed over', async (t) => {
  const { id, token, publicKey } = mintToken();
  const secret = token.split('.')[1] ?? '';
  /** The token with a block that whoever holds it may write. */
  const withBlock = (block: object): string => {
    const payload = Buffer.from(JSON.stringify(block)).toString('base64url');
    const head = Buffer.from('302e020100300506032b657004220420', 'hex');
    const der = Buffer.concat([head, Buffer.from(secret, 'base64url')]);
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    const signature = sign(null, Buffer.from(`cairn token limit\n${id}\n${payload}`), key);
    return [`cairn_${id}`, payload, signature.toString('base64url'), secret].join('.');
  };
  const next = publicKey.toString('base64url');
  t.same(verifyToken(withBlock({ can: ['read'], next }), publicKey), [{ can: ['read'] }]);
  t.equal(verifyToken(withBlock({ can: ['read'], country: 'Norway', next }), publicKey), undefined);
  t.equal(verifyToken(withBlock({ can: ['everything'], next }), publicKey), undefined);
  t.equal(verifyToken(withBlock({ can: ['read'] }), publicKey), undefined);
});

void t.test('a glob matches whole names, in time that no glob can stretch', async (t) => {
  const matches = (glob: string, name: string): boolean => accessOf({ workspace: glob }).allows(name, 'read');
  for (const [glob, name, expected] of [
    ['*', 'anything', true],
    ['demo', 'demo', true],
    ['demo', 'demo2', false],
    ['demo', 'a-demo', false],
    ['team-*', 'team-', true],
    ['team-*', 'team', false],
    ['*-a', 'team-a-b-a', true],
    ['a*b*c', 'a.b.b.c', true],
    ['a*b*c', 'a.c.b', false],
    ['a.c', 'abc', false],
  ] as const) {
    t.equal(matches(glob, name), expected, `${glob} ${name}`);
  }
  t.notOk(matches(`${'*a'.repeat(30)}*b`, 'a'.repeat(63)));
});

void t.test('a path opens itself and what is below it', async (t) => {
  const access = accessOf({ path: Buffer.from('src/lib') });
  const opens = (path: string): boolean => access.allowsPath(Buffer.from(path));
  t.ok(opens('src/lib') && opens('src/lib/a') && opens('src/lib/a/b'));
  t.notOk(opens('') || opens('src') || opens('src/library') || opens('src/li') || opens('other'));
  t.ok(access.leadsToAllowed(Buffer.from('src')) && access.leadsToAllowed(Buffer.alloc(0)));
  t.notOk(access.leadsToAllowed(Buffer.from('sr')));
  const both = accessOf({ path: Buffer.from('src') }, { path: Buffer.from('src/lib') });
  t.same(both.path, Buffer.from('src/lib'));
  const none = accessOf({ path: Buffer.from('src') }, { path: Buffer.from('docs') });
  t.equal(none.allowsPath(Buffer.from('src')), false);
  t.equal(none.rightsIn('w').size, 0, 'what no path is left for opens nothing');
});

void t.test('whatever is added to a token, it may nothing that it could not before', async (t) => {
  const limit = fc.record(
    {
      workspace: fc.constantFrom('*', 'a*', 'ab', '*b', 'c'),
      path: fc.constantFrom('', 'x', 'x/y', 'z').map((path) => Buffer.from(path)),
      can: fc.subarray([...RIGHTS]),
      untilMs: fc.nat(9),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.array(limit, { maxLength: 4 }), limit, (limits, added) => {
      const before = accessOf(...limits);
      const after = accessOf(...limits, added);
      for (const name of ['a', 'ab', 'b', 'c']) {
        for (const right of after.rightsIn(name)) if (!before.allows(name, right)) return false;
      }
      for (const path of ['', 'x', 'x/y', 'x/y/z', 'xy', 'z']) {
        const bytes = Buffer.from(path);
        if (after.allowsPath(bytes) && !before.allowsPath(bytes)) return false;
      }
      if (after.isAdministrator && !before.isAdministrator) return false;
      return before.untilMs === undefined || (after.untilMs ?? Infinity) <= before.untilMs;
    }),
  );
  t.pass();
});

void t.test('who administers the service may everything everywhere', async (t) => {
  t.ok(accessOf({ workspace: '*' }).isAdministrator);
  t.notOk(accessOf({ workspace: 'a*' }).isAdministrator);
  t.notOk(accessOf({ path: Buffer.from('a') }).isAdministrator);
  t.notOk(accessOf({ can: ['read', 'write'] }).isAdministrator);
});
