/**
 * Checks who imports whom by the rules of `.dependency-cruiser.js`. Fails as well when a TypeScript file was not looked
 * at: with a compiler it does not know, dependency-cruiser looks at none and reports that all is well.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { cruise, type ICruiseResult } from 'dependency-cruiser';
import extractDepcruiseOptions from 'dependency-cruiser/config-utl/extract-depcruise-options';
import extractTSConfig from 'dependency-cruiser/config-utl/extract-ts-config';

const FOLDERS = ['src', 'test', 'scripts'];

process.chdir(path.resolve(import.meta.dirname, '../..'));

const { output } = await cruise(
  FOLDERS,
  await extractDepcruiseOptions(path.resolve('.dependency-cruiser.js')),
  undefined,
  { tsConfig: extractTSConfig('tsconfig.json') },
);
const { modules, summary } = output as ICruiseResult;

const problems = summary.violations.map(({ rule, from, to, cycle }) => {
  const end = cycle === undefined ? to : cycle.map(({ name }) => name).join(' → ');
  return `${rule.name}: ${from === end ? from : `${from} → ${end}`}`;
});
const cruised = new Set(modules.map((module) => module.source));
for (const folder of FOLDERS) {
  const files = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith('.ts'));
  problems.push(
    ...files
      .map((file) => path.join(folder, file))
      .filter((file) => !cruised.has(file))
      .map((file) => `not looked at: ${file}`),
  );
}
if (cruised.size === 0) {
  problems.push('no module was looked at');
}

for (const problem of problems) {
  process.stdout.write(`${problem}\n`);
}
process.stdout.write(`${String(modules.length)} modules, ${String(problems.length)} problems\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
