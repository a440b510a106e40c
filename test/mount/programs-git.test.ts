import { writeFileSync } from 'node:fs';
import t from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { onBoth, snapshotElsewhere, startWorkplace } from './programs.js';
import { differences, programPath, runDone } from './site.js';

const COMMITS = 300;
const FORK_AT = 200;
const FEATURE_COMMITS = 40;

/** For git fast-import: `main`, and `feature` with changes that can be put on top of it. */
function history(): string {
  const commit = (branch: string, number: number, files: Record<string, string>): string =>
    [
      `commit refs/heads/${branch}`,
      `committer a <a@b> ${String(1_600_000_000 + number * 60)} +0000`,
      `data <<END\n${branch} ${String(number)}\nEND`,
      ...Object.entries(files).map(
        ([name, text]) => `M 644 inline ${name}\ndata ${String(text.length)}\n${text}`,
      ),
    ].join('\n');
  const common = (top: number, bottom: number): string =>
    `top ${String(top)}\n${'between\n'.repeat(20)}bottom ${String(bottom)}\n`;
  const commits: string[] = [];
  for (let number = 1; number <= COMMITS; number++) {
    const text = `file in commit ${String(number)}\n`.repeat(1 + ((number * 7) % 150));
    commits.push(
      commit('main', number, {
        [`main/file-${String(number % 220)}`]: text,
        [`main/part/of-${String(number % 30)}`]: text,
        common: common(number, 0),
      }),
    );
    if (number === FORK_AT) commits.push('reset refs/heads/feature\nfrom refs/heads/main\n');
  }
  for (let number = 1; number <= FEATURE_COMMITS; number++) {
    commits.push(
      commit('feature', COMMITS + number, {
        [`feature/file-${String(number % 15)}`]: `feature ${String(number)}\n`.repeat(number),
        common: common(FORK_AT, number),
      }),
    );
  }
  return `${commits.join('\n')}\n`;
}

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test(
    'git clones, rebases, merges, keeps worktrees and collects garbage as on a local disk',
    async (t) => {
      const workplace = await startWorkplace(t, {
        build: async (tree) => {
          writeFileSync(`${tree}/../history`, history());
          const script =
            'git init -q --bare -b main "$1/origin.git" && git -C "$1/origin.git" fast-import --quiet <"$1/../history" && ' +
            'git clone -q "$1/origin.git" "$1/imported"';
          await runDone(['sh', '-c', script, 'sh', tree], { env: { HOME: tree } });
        },
      });
      const { mountpoint } = workplace;
      t.equal(
        await runDone(['git', '-C', `${mountpoint}/imported`, 'diff-files'], {
          env: { HOME: workplace.site.base },
        }),
        '',
        'the index of a working tree that was imported knows the files by their inodes and times',
      );
      const { mounted, local } = await onBoth(
        workplace,
        (folder) => ['sh', programPath('programs-git.sh'), folder],
        {
          env: { HOME: workplace.site.base },
        },
      );
      t.equal(mounted, local, 'the same refs, objects and files, and nothing else in the working tree');
      t.ok(mounted.split('\n').length > 1000, 'of which there are many');

      const version = await snapshotElsewhere(workplace);
      t.same(await differences(mountpoint, version), [], 'the version is what the mount shows');
      const git = (...args: string[]): string[] => ['git', '-C', `${version}/clone`, ...args];
      const env = { HOME: workplace.site.base, GIT_OPTIONAL_LOCKS: '0' };
      t.equal(
        await runDone(git('diff-files'), { env }),
        '',
        'the index knows the files by their inodes and times',
      );
      t.equal(await runDone(git('status', '--porcelain'), { env }), '');
      await runDone(git('fsck', '--full', '--strict', '--no-progress'), { env });
      await runDone(git('log', '--stat', '-5'), { env });
    },
  );
}
