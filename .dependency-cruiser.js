// prettier-ignore
const BELOW_DAEMON = ['core', 'posix', 'wire', 'objects', 'blocks', 'manifest', 'catalog', 'upper', 'vfs', 'fuse', 'merge', 'snapshot'];

/** Who may import whom: the table of docs/ARCHITECTURE.md. A folder of src that is not in it may not exist. */
const MAY_IMPORT = {
  core: [],
  posix: ['core'],
  wire: ['core'],
  objects: ['core', 'wire'],
  blocks: ['core', 'objects'],
  manifest: ['core', 'blocks'],
  catalog: ['core', 'wire'],
  upper: ['core', 'posix', 'manifest'],
  vfs: ['core', 'manifest', 'upper'],
  fuse: ['core', 'posix', 'vfs'],
  merge: ['core', 'manifest'],
  snapshot: ['core', 'posix', 'objects', 'blocks', 'manifest', 'upper', 'catalog', 'merge'],
  check: ['core', 'posix', 'objects', 'blocks', 'manifest', 'catalog', 'upper', 'snapshot'],
  daemon: [...BELOW_DAEMON, 'check'],
  service: ['core', 'wire', 'objects', 'blocks', 'manifest', 'catalog', 'merge', 'snapshot'],
  cli: [...BELOW_DAEMON, 'check', 'daemon', 'service'],
};

const folders = Object.keys(MAY_IMPORT).join('|');

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
      name: `layer-${folder}`,
      comment: `src/${folder} may import ${allowed.length === 0 ? 'nothing' : allowed.join(', ')}`,
      severity: 'error',
      from: { path: `^src/${folder}/` },
      to: { path: '^(src|test|scripts|bin)/', pathNot: `^src/(${[folder, ...allowed].join('|')})/` },
    })),
    {
      name: 'folder-in-table',
      comment: 'every file of src belongs to a folder of the table in .dependency-cruiser.js',
      severity: 'error',
      from: { path: '^src/', pathNot: `^src/(${folders})/` },
      to: {},
    },
    {
      name: 'one-door',
      comment: 'a folder of src is entered only by its index.ts',
      severity: 'error',
      from: { path: '^src/([^/]+)/' },
      to: { path: '^src/', pathNot: ['^src/$1/', '^src/[^/]+/index\\.ts$'] },
    },
    {
      name: 'one-door-from-outside',
      comment:
        'tests and scripts enter a folder of src by its index.ts; a test may look inside the folder it mirrors, and what damages formats where they are read',
      severity: 'error',
      from: { path: '^(?:test|scripts)/([^/]+)', pathNot: '^test/(?:integration|fuzz)/' },
      to: { path: '^src/', pathNot: ['^src/[^/]+/index\\.ts$', '^src/$1/'] },
    },
    {
      name: 'scripts-stand-apart',
      comment: 'tests do not import scripts, nor scripts tests',
      severity: 'error',
      from: { path: '^(test|scripts)/' },
      to: { path: '^(test|scripts)/', pathNot: '^$1/' },
    },
    {
      name: 'no-cycle',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-dev-dependency',
      comment: 'the product runs without the development dependencies',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['types', 'import', 'node', 'default'],
    },
  },
};
