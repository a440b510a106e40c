import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import t from 'tap';
import { displayPath } from '../../src/cli/path-text.js';
import { jsonPath } from '../../src/core/index.js';

const awkward = fc
  .array(
    fc.oneof(
      fc.constantFrom(9, 10, 27, 32, 39, 92, 96, 127, 0x80, 0xff, 0xc3, 0xa9),
      fc.integer({ min: 1, max: 255 }),
    ),
    {
      minLength: 1,
      maxLength: 30,
    },
  )
  .map((bytes) => Buffer.from(bytes));

t.test('a name with control characters is shown as ls shows it', async (t) => {
  t.equal(displayPath(Buffer.from('plain name é 日本')), 'plain name é 日本');
  t.equal(displayPath(Buffer.from('a\nb')), `'a'$'\\n''b'`);
  t.equal(displayPath(Buffer.from([0x61, 0xff, 0x62])), `'a'$'\\377''b'`);
  t.equal(displayPath(Buffer.from("it's\u001b[31m")), `'it'\\''s'$'\\033''[31m'`);
  t.equal(displayPath(Buffer.from('right\u202eleft')), `'right'$'\\342\\200\\256''left'`);
});

t.test(
  'an escaped name holds no control character, and a shell reads it back as the same bytes',
  async (t) => {
    fc.assert(
      fc.property(awkward, (name) => {
        const shown = displayPath(name);
        t.notMatch(shown, /\p{Cc}/u);
        if (shown === name.toString('utf8')) return name.equals(Buffer.from(shown));
        return execFileSync('/bin/bash', ['-c', `printf %s ${shown}`]).equals(name);
      }),
      { numRuns: 60 },
    );
  },
);

t.test('a path in JSON is text when it is UTF-8, else base64', async (t) => {
  t.same(jsonPath(Buffer.from('a/é\n')), { path: 'a/é\n' });
  t.same(jsonPath(Buffer.from([0x61, 0xff])), { pathBase64: 'Yf8=' });
});
