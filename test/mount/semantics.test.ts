import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { isRoot, programPath, run, runDone, Site } from './site.js';

const LIMIT_S = 60;
const DOCUMENT = programPath('../../docs/SEMANTICS.md');

interface Example {
  /** The heading it stands under, and which of its examples it is. */
  name: string;
  script: string;
  needsRoot: boolean;
}

function examplesOf(document: string): Example[] {
  const examples: Example[] = [];
  for (const section of document.split(/^## /m).slice(1)) {
    const heading = section.slice(0, section.indexOf('\n'));
    let count = 0;
    for (const [, marks = '', script = ''] of section.matchAll(/^```sh(.*)\n([^]*?)^```$/gm)) {
      count += 1;
      examples.push({
        name: `${heading}, example ${String(count)}`,
        script,
        needsRoot: marks.trim() === 'root',
      });
    }
  }
  return examples;
}

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  mkdirSync(`${tree}/folder`);
  writeFileSync(`${tree}/folder/file`, 'imported\n');
  await home.import(tree, 'semantics');
  const { mountpoint } = await home.mount('semantics', 'mnt');
  const commands = programPath('../../bin');
  const env = { ...home.environment(), MOUNT: mountpoint, PATH: `${commands}:${process.env['PATH'] ?? ''}` };

  const examples = examplesOf(readFileSync(DOCUMENT, 'utf8'));
  t.ok(examples.length > 15, `${String(examples.length)} examples`);
  examples.forEach(({ name, script, needsRoot }, index) => {
    t.test(name, { skip: needsRoot && !isRoot && 'needs root' }, async (t) => {
      const folder = `${mountpoint}/example-${String(index)}`;
      await runDone(['mkdir', folder]);
      // `!` before a command does not end a shell that is told to stop at the first failure: what must fail is asked for instead.
      const checked = script.replaceAll(
        /^(.*\|\| )?! (.*)$/gm,
        '$1if $2; then echo example: not refused >&2; exit 1; fi',
      );
      const ran = await run(['bash', '-eu', '-c', `cd ${folder}\n${checked}`], { limit_s: LIMIT_S, env });
      t.match(ran, { code: 0, stderr: '' });
    });
  });
}
