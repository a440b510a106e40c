import { lstat, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { countTree } from './tree-counts.js';

const FILES_WANTED = 100_000;

const PACKAGES: Readonly<Record<string, string>> = {
  '@angular/core': '19',
  '@aws-sdk/client-ec2': '3',
  '@babel/preset-env': '7',
  '@mui/icons-material': '6',
  '@mui/material': '6',
  '@tabler/icons-react': '3',
  antd: '5',
  'aws-sdk': '2',
  'core-js': '3',
  'date-fns': '4',
  eslint: '9',
  express: '5',
  firebase: '11',
  googleapis: '144',
  jest: '29',
  lodash: '4',
  'lucide-react': '0',
  next: '15',
  prettier: '3',
  react: '19',
  'react-dom': '19',
  'react-icons': '5',
  rxjs: '7',
  three: '0',
  typescript: '5',
  vite: '6',
  webpack: '5',
};

const MANIFEST = `${JSON.stringify(
  { name: 'bench-workspace', private: true, dependencies: PACKAGES },
  undefined,
  2,
)}\n`;

/** npm writes `node_modules/.package-lock.json` last, so an install that was cut short does not have it. */
async function isComplete(root: string): Promise<boolean> {
  try {
    await lstat(path.join(root, 'node_modules', '.package-lock.json'));
    return (await readFile(path.join(root, 'package.json'), 'utf8')) === MANIFEST;
  } catch {
    return false;
  }
}

/**
 * The workspace that the benchmark runs on: popular npm packages with pinned major versions, installed into one folder, which makes at
 * least 100,000 files. A folder that is complete is used again. Packages' own install scripts are not run.
 */
export async function ensureWorkspace(root: string, signal: AbortSignal): Promise<void> {
  if (await isComplete(root)) return;
  await mkdir(root, { recursive: true });
  await writeFile(path.join(root, 'package.json'), MANIFEST);
  process.stderr.write(`installing ${Object.keys(PACKAGES).length} packages into ${root}\n`);
  await execa('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--legacy-peer-deps'], {
    cwd: root,
    stdin: 'ignore',
    stdout: process.stderr,
    stderr: 'inherit',
    cancelSignal: signal,
  });
  const { files } = await countTree(root);
  if (files < FILES_WANTED) throw new Error(`${root} has only ${files} files: remove it and run again`);
}
