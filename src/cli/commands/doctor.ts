import { runChecks } from '../doctor-checks.js';
import { defineCommand } from '../command.js';

export const doctorCommand = defineCommand({
  name: 'doctor',
  summary: 'check this machine, the home folder, the store and the catalog',
  details: `Checks what this machine and these settings can do. Each line is ok, warn (works, but) or fail, with what to do.
Ends with exit code 1 when a check fails. Changes nothing, unless --write is given.`,
  positionals: [],
  options: { write: { type: 'boolean', describe: 'also put a small object into the store, and delete it' } },
  examples: [
    ['doctor', 'with the settings in force'],
    ['doctor --store s3://bucket/prefix --write', 'can this bucket be used?'],
  ],
  run: async (_args, { write }, { settings, output }) => {
    let ok = true;
    for await (const check of runChecks(settings, { write })) {
      ok &&= check.result !== 'fail';
      await output.document(check);
      await output.line(`${check.result.padEnd(4)}  ${check.name}: ${check.found}`);
      if (check.advice !== undefined) await output.line(`      ${check.advice}`);
    }
    return ok;
  },
});
