import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import t from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { differences, isRoot, programPath, run, runDone, Site } from './site.js';

const OPERATIONS: Readonly<Record<string, string>> = {
  append_from_two_processes: 'two processes append to one file, and no line is lost or torn',
  temporary_file_linked: 'a file made without a name gets one, or none',
  rename_flags: 'renames exchange, and refuse to replace',
  shared_map: 'a write through a shared mapping is in the file',
  holes: 'holes are punched, found and allocated; a file may have a size of 10^12',
  hard_links: 'what is done through one name of a file is seen through the other',
  remove_while_listing: '5,000 entries are removed while they are listed',
  watch: 'a watcher sees what happens on the mount',
  many_entries: 'a directory of 20,000 entries is listed whole',
  file_system_status: 'statvfs answers; names and renames have their limits',
  locks: 'flock and record locks exclude',
  copy_file_range: 'a range is copied from file to file',
  direct_io: 'a file is written and read past the page cache',
  set_id_bits: 'a write or fallocate by another than root clears the set-id bits',
};

const LIMIT_S = 60;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  writeFileSync(`${tree}/imported`, Buffer.alloc(1_200_000, 'of the version '));
  writeFileSync(`${tree}/large`, randomBytes(1_200_000));
  await home.import(tree, 'tools');
  // One of the operations goes on as another user.
  const { mountpoint } = await home.mount('tools', 'mnt', ...(isRoot ? ['--allow-other'] : []));

  for (const [name, what] of Object.entries(OPERATIONS)) {
    t.test(what, async (t) => {
      const folder = `${mountpoint}/${name}`;
      await runDone(['mkdir', folder]);
      t.match(await run(['python3', programPath('operations.py'), name, folder], { limit_s: LIMIT_S }), {
        code: 0,
        stderr: '',
      });
    });
  }

  t.test('access times are set, and not changed by reading', async (t) => {
    const folder = `${mountpoint}/access_times`;
    await runDone(['mkdir', folder]);
    const args = ['access_times', folder, `${mountpoint}/imported`];
    t.match(await run(['python3', programPath('operations.py'), ...args], { limit_s: LIMIT_S }), {
      code: 0,
      stderr: '',
    });
  });

  t.test('a file that is open and has no name any more is read and written across snapshots', async (t) => {
    const folder = `${mountpoint}/unlinked`;
    await runDone(['mkdir', folder]);
    const args = ['-s', 'KILL', String(LIMIT_S), 'python3', programPath('operations.py')];
    const holder = spawn(
      'timeout',
      [...args, 'unlinked_across_snapshots', folder, `${mountpoint}/imported`],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    const exited = once(holder, 'exit');
    const seqs: number[] = [];
    for await (const step of createInterface({ input: holder.stdout })) {
      await runDone(['sh', '-c', `echo ${step} > ${folder}/step`]);
      const { seq, created } = await home.snapshot(mountpoint);
      t.ok(created);
      seqs.push(seq);
      holder.stdin.write('\n');
    }
    t.same(await exited, [0, null]);
    t.same(seqs, [2, 3, 4]);
    t.match(await home.cairn(['ls', 'tools@4:unlinked']), { stdout: 'step\n' }, 'it is in no version');
    t.match(await home.cairn(['ls', 'tools@4:imported']), { code: 3 });
  });

  t.test('what all of that has made is in the version', async (t) => {
    await runDone(['rm', '-r', `${mountpoint}/holes`]);
    await home.snapshot(mountpoint);
    const version = await site.home('other').mount('tools', 'version', '--read-only');
    t.same(await differences(mountpoint, version.mountpoint), []);
  });

  t.test('holes take nothing on the disk; of a version stat says so too', async (t) => {
    const folder = `${mountpoint}/space_taken`;
    await runDone(['mkdir', folder]);
    const args = ['space_taken', folder, `${mountpoint}/large`, home.dir];
    t.match(await run(['python3', programPath('operations.py'), ...args], { limit_s: LIMIT_S }), {
      code: 0,
      stderr: '',
    });
    // But for the chunk that the data ends in, of 4 MiB at the most.
    const mostBytes = 1_200_000 + 4 * 1024 * 1024;
    await home.snapshot(mountpoint);
    const version = await home.mount('tools', 'taken', '--read-only');
    for (const file of ['space_taken/sparse', 'large']) {
      const sectors = await runDone(['stat', '--format=%b', `${version.mountpoint}/${file}`]);
      t.ok(Number(sectors) * 512 <= mostBytes, `${file}: ${sectors} sectors`);
    }
    await home.unmount(version.mountpoint);
  });
}
