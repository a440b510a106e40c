import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { onBoth, snapshotElsewhere, startWorkplace, without } from './programs.js';
import { differences, run, runDone, until } from './site.js';

const LIMIT_S = 60;
const missing = await without('vim');
const VIM = missing === false ? 'vim' : 'vim.tiny';
/** Nothing of whoever runs the test; vim keeps no backup of what is in /tmp unless it is told to. */
const BARE = [
  VIM,
  '-es',
  '-N',
  '-u',
  'NONE',
  '-i',
  'NONE',
  '--cmd',
  'set directory=. backup backupskip= backupdir=.',
];
const TEXT =
  'seq 1 2000 >"$1/text" && ln "$1/text" "$1/linked" && chmod 640 "$1/text" && setfattr -n user.of -v vim "$1/text"';

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  const skip = missing === false ? false : await without('vim.tiny', 'setfattr');
  t.test('vim saves in place and by a new file, with a swap file and a backup', { skip }, saves);
  t.test('vim recovers from the swap file what was not saved when it was killed', { skip }, recovers);
}

async function saves(t: Test): Promise<void> {
  const workplace = await startWorkplace(t, {
    build: async (tree) => {
      await runDone(['sh', '-c', TEXT, 'sh', tree]);
    },
  });
  const { mountpoint, plain } = workplace;
  for (const [backupCopy, names] of [
    ['yes', '2'],
    ['no', '1'],
  ] as const) {
    const edits = [
      '-c',
      `set backupcopy=${backupCopy}`,
      '-c',
      `%s/^/${backupCopy} /`,
      '-c',
      '100,200d',
      '-c',
      'x',
    ];
    await onBoth(workplace, (folder) => [...BARE, ...edits, `${folder}/text`]);
    t.same(
      await differences(plain, mountpoint, { times: false }),
      [],
      `backupcopy=${backupCopy}: as on a local disk`,
    );
    t.equal(await runDone(['stat', '-c', '%h %a', `${mountpoint}/text`]), `${names} 640\n`);
  }
  t.equal(await runDone(['ls', '-A', mountpoint]), 'linked\ntext\ntext~\n', 'no swap file is left');
  const version = await snapshotElsewhere(workplace);
  t.same(await differences(mountpoint, version), [], 'the version is what the mount shows');
}

async function recovers(t: Test): Promise<void> {
  const { mountpoint } = await startWorkplace(t, {
    build: async (tree) => {
      await runDone(['sh', '-c', TEXT, 'sh', tree]);
    },
  });
  const [file, saved, recovered] = ['text', 'saved', 'recovered'].map((name) => `${mountpoint}/${name}`);
  if (file === undefined || saved === undefined || recovered === undefined)
    throw new Error('there are three');
  const [command = '', ...args] = BARE;
  const vim = spawn(command, [...args, file], {
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
    timeout: LIMIT_S * 1000,
    killSignal: 'SIGKILL',
  });
  const exited = once(vim, 'exit');
  vim.stdin.write(`%s/^/changed /\n500,700d\npreserve\nwrite ${saved}\nwrite ${mountpoint}/told\n`);
  await until(
    'vim has done as it was told',
    async () => (await run(['test', '-s', `${mountpoint}/told`])).code === 0,
  );
  vim.kill('SIGKILL');
  t.same(await exited, [null, 'SIGKILL']);
  t.equal(await runDone(['ls', `${mountpoint}/.text.swp`]), `${mountpoint}/.text.swp\n`);

  t.match(await run(['cmp', '-s', file, saved]), { code: 1 }, 'the changes were in no file of that name');
  await run([...BARE, '-r', file, '-c', `write ${recovered}`, '-c', 'quit!']);
  t.equal(await runDone(['cmp', saved, recovered]), '', 'they are recovered');
}
