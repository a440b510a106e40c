import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { onBoth, snapshotElsewhere, startWorkplace, type Workplace } from './programs.js';
import { differences, runDone } from './site.js';

const TSC = fileURLToPath(new URL('../../../node_modules/typescript/bin/tsc', import.meta.url));
const PACKAGES = 4;
const FILES_OF_A_PACKAGE = 150;
const MODULES = 12;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test('npm ci installs a project from its lock file, twice', npmCi);
  t.test('tsc -b builds projects that refer to one another, and then only what has changed', tscBuild);
}

function writeJson(file: string, value: unknown): void {
  writeFileSync(file, JSON.stringify(value, null, 2));
}

/** npm without network, and without anything of whoever runs the test. */
function npmOf(workplaceBase: string): (...args: string[]) => string[] {
  const options = ['--offline', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];
  return (...args) => ['env', `HOME=${workplaceBase}`, 'npm', ...args, ...options];
}

/** A project that depends on packages in tarballs, which depend on one another and bring a program, and on one in a folder. */
async function buildProject(tree: string): Promise<void> {
  const npm = npmOf(`${tree}/..`);
  const made = `${tree}/../packages`;
  const dependencies: Record<string, string> = { local: 'file:local' };
  mkdirSync(`${tree}/tarballs`);
  for (let number = 0; number < PACKAGES; number++) {
    const name = `package-${String(number)}`;
    const folder = `${made}/${name}`;
    mkdirSync(`${folder}/lib`, { recursive: true });
    writeJson(`${folder}/package.json`, {
      name,
      version: '1.0.0',
      bin: { [`run-${name}`]: 'run.js' },
      dependencies: number === 0 ? {} : { [`package-${String(number - 1)}`]: '^1.0.0' },
    });
    const inner = number === 0 ? `['end']` : `['${name}', ...require('package-${String(number - 1)}')]`;
    writeFileSync(`${folder}/index.js`, `module.exports = ${inner};\n`);
    writeFileSync(`${folder}/run.js`, `#!/usr/bin/env node\nconsole.log(require('./index.js').join(' '));\n`);
    for (let file = 0; file < FILES_OF_A_PACKAGE; file++) {
      writeFileSync(`${folder}/lib/${String(file)}.js`, `// ${name} ${String(file)}\n`.repeat(file + 1));
    }
    await runDone(npm('pack', folder, '--pack-destination', `${tree}/tarballs`));
    dependencies[name] = `file:tarballs/${name}-1.0.0.tgz`;
  }
  mkdirSync(`${tree}/local`);
  writeJson(`${tree}/local/package.json`, { name: 'local', version: '2.0.0' });
  writeJson(`${tree}/package.json`, {
    name: 'project',
    version: '1.0.0',
    dependencies,
    scripts: { postinstall: `run-package-${String(PACKAGES - 1)} > installed` },
  });
  await runDone(npm('install', '--package-lock-only', '--ignore-scripts', '--prefix', tree), { cwd: tree });
}

async function npmCi(t: Test): Promise<void> {
  const workplace = await startWorkplace(t, { build: buildProject });
  const { site, mountpoint, plain } = workplace;
  const npm = npmOf(site.base);
  for (const time of ['first', 'second']) {
    // The shell enters the folder, so that no process of the test's own stands in a mount.
    await onBoth(workplace, (folder) => [
      'sh',
      '-c',
      'cd "$1" && shift && exec "$@"',
      'sh',
      folder,
      ...npm('ci'),
    ]);
    t.same(
      await differences(plain, mountpoint, { times: false }),
      [],
      `the ${time} time it makes what it makes elsewhere`,
    );
  }
  t.equal(await runDone(['cat', `${mountpoint}/installed`]), 'package-3 package-2 package-1 end\n');
  const listed = await onBoth(workplace, (folder) => npm('ls', '--all', '--prefix', folder));
  t.match(listed.mounted, /package-0@1\.0\.0[^]*package-3@1\.0\.0/);
  t.equal(listed.mounted.replaceAll(mountpoint, plain), listed.local, 'npm ls finds nothing amiss');
  const version = await snapshotElsewhere(workplace);
  t.same(await differences(mountpoint, version), [], 'the version is what the mount shows');
  t.equal(
    await runDone([`${version}/node_modules/.bin/run-package-1`]),
    'package-1 end\n',
    'what was installed runs from it',
  );
}

/** `app` refers to `core`. */
function buildSources(tree: string): void {
  const compilerOptions = {
    composite: true,
    target: 'es2022',
    module: 'nodenext',
    types: [],
    strict: true,
    skipLibCheck: true,
    sourceMap: true,
    outDir: 'out',
    rootDir: 'src',
  };
  for (const [project, references] of [
    ['core', []],
    ['app', [{ path: '../core' }]],
  ] as const) {
    mkdirSync(`${tree}/${project}/src`, { recursive: true });
    writeJson(`${tree}/${project}/tsconfig.json`, { compilerOptions, include: ['src'], references });
    writeJson(`${tree}/${project}/package.json`, { type: 'module' });
    for (let number = 0; number < MODULES; number++) {
      const next = `./module-${String(number + 1)}.js`;
      const last = project === 'app' ? '../../core/src/module-0.js' : undefined;
      const from = number + 1 < MODULES ? next : last;
      const lines = [
        ...(from === undefined ? [] : [`import { value as next } from '${from}';`]),
        `export const value: readonly string[] = ['${project} ${String(number)}'${from === undefined ? '' : ', ...next'}];`,
      ];
      writeFileSync(`${tree}/${project}/src/module-${String(number)}.ts`, `${lines.join('\n')}\n`);
    }
  }
  writeJson(`${tree}/tsconfig.json`, { files: [], references: [{ path: 'core' }, { path: 'app' }] });
}

async function tscBuild(t: Test): Promise<void> {
  const workplace = await startWorkplace(t, {
    build: async (tree) => {
      buildSources(tree);
    },
  });
  const { mountpoint, plain } = workplace;
  const build = async (): Promise<string> => {
    const { mounted } = await onBoth(workplace, (folder) => [
      process.execPath,
      TSC,
      '-b',
      '--verbose',
      folder,
    ]);
    t.same(await differences(plain, mountpoint, { times: false }), [], 'the output is the same as elsewhere');
    return mounted;
  };
  t.match(await build(), /core\/tsconfig.json' is out of date[^]*app\/tsconfig.json' is out of date/);
  const before = await filesOf(workplace);
  t.match(await build(), /core\/tsconfig.json' is up to date[^]*app\/tsconfig.json' is up to date/);
  t.same(await filesOf(workplace), before, 'the second time nothing is written');

  await onBoth(workplace, (folder) => [
    'sh',
    '-c',
    'echo "export const added = 1;" >>"$1/app/src/module-5.ts"',
    'sh',
    folder,
  ]);
  t.match(await build(), /core\/tsconfig.json' is up to date[^]*app\/tsconfig.json' is out of date/);

  const version = await snapshotElsewhere(workplace);
  t.match(
    await runDone([process.execPath, TSC, '-b', '--verbose', version]),
    /core\/tsconfig.json' is up to date[^]*app\/tsconfig.json' is up to date/,
    'on another machine nothing is to be built either',
  );
}

/** Every file on the mount, with its inode and times. */
async function filesOf({ mountpoint }: Workplace): Promise<string> {
  return await runDone(['find', mountpoint, '-printf', '%p %i %T@ %C@\n']);
}
