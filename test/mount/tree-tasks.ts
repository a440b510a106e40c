/** What touches trees that may be mounts, as a process that can be killed: `node tree-tasks.js <task> <arguments…>`, answers in JSON. */
import { buildOddities } from '../fixtures/oddities.js';
import { compareTrees, type CompareOptions } from '../fixtures/compare-trees.js';

const tasks: Record<string, (...args: string[]) => unknown> = {
  oddities: (dir = '', options = '{}') => {
    buildOddities(dir, JSON.parse(options) as object);
    return null;
  },
  compare: (a = '', b = '', options = '{}') => compareTrees(a, b, JSON.parse(options) as CompareOptions),
};

const [name = '', ...args] = process.argv.slice(2);
const task = tasks[name];
if (task === undefined) throw new Error(`no task ${name}`);
process.stdout.write(JSON.stringify(task(...args)));
