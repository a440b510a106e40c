import {
  deviceNumber,
  isDirectory,
  isSymlink,
  jsonPath,
  type Ino,
  type InodeAttributes,
} from '../../core/index.js';
import type { DentryWithInode, ManifestReader } from '../../manifest/index.js';
import { defineCommand } from '../command.js';
import { fileTypeName, modeText } from '../mode-text.js';
import { findVersion, inodeAt, withManifest, withStores } from '../open-version.js';
import type { Output } from '../output.js';
import { displayPath } from '../path-text.js';
import { timeText } from '../quantities.js';
import { parsePathReference } from '../reference.js';

const PAGE = 4096;

interface Entry {
  path: Buffer;
  inode: InodeAttributes;
}

/** The entries of one directory in the order of their bytes. */
function sortedEntries(manifest: ManifestReader, ino: Ino): DentryWithInode[] {
  const entries: DentryWithInode[] = [];
  for (let after = 0; ;) {
    const page = manifest.listWithInodes(ino, after, PAGE);
    entries.push(...page);
    const last = page.at(-1);
    if (last === undefined) break;
    after = last.cookie;
  }
  return entries.sort((a, b) => Buffer.compare(a.name, b.name));
}

function* entriesBelow(
  manifest: ManifestReader,
  ino: Ino,
  prefix: Buffer,
  recursive: boolean,
): Generator<Entry> {
  for (const { name, inode } of sortedEntries(manifest, ino)) {
    const path = Buffer.concat([prefix, name]);
    yield { path, inode };
    if (recursive && isDirectory(inode.mode)) {
      yield* entriesBelow(manifest, inode.ino, Buffer.concat([path, Buffer.from('/')]), true);
    }
  }
}

function entryDocument(manifest: ManifestReader, { path, inode }: Entry): object {
  const target = isSymlink(inode.mode) ? manifest.symlink(inode.ino) : undefined;
  const { ino, mode, uid, gid, size, nlink, mtimeSec, mtimeNsec, ctimeSec, ctimeNsec, btimeSec, btimeNsec } =
    inode;
  return {
    ...jsonPath(path),
    type: fileTypeName(mode),
    ino,
    mode: mode & 0o7777,
    uid,
    gid,
    size,
    nlink,
    rdev: deviceNumber(inode),
    mtime: { sec: mtimeSec, nsec: mtimeNsec },
    ctime: { sec: ctimeSec, nsec: ctimeNsec },
    btime: { sec: btimeSec, nsec: btimeNsec },
    hash: manifest.content(ino),
    ...(target === undefined ? {} : { target: jsonPath(target) }),
  };
}

function longLine(manifest: ManifestReader, { path, inode }: Entry): string {
  const target = isSymlink(inode.mode) ? manifest.symlink(inode.ino) : undefined;
  const columns = [
    modeText(inode.mode),
    String(inode.nlink).padStart(3),
    String(inode.uid).padStart(5),
    String(inode.gid).padStart(5),
    String(inode.size).padStart(11),
    timeText(inode.mtimeSec * 1000),
    displayPath(path),
  ];
  return `${columns.join(' ')}${target === undefined ? '' : ` -> ${displayPath(target)}`}`;
}

async function printEntry(
  manifest: ManifestReader,
  entry: Entry,
  long: boolean,
  output: Output,
): Promise<void> {
  if (output.json) await output.document(entryDocument(manifest, entry));
  else await output.line(long ? longLine(manifest, entry) : displayPath(entry.path));
}

export const lsCommand = defineCommand({
  name: 'ls',
  summary: 'list a directory of a version',
  details:
    'Lists a directory of a version, one path a line, in the order of their bytes (with --json one entry a line).',
  positionals: [{ name: 'workspace', describe: 'name[@version][:path]' }],
  options: {
    long: { type: 'boolean', short: 'l', describe: 'with mode, links, owner, group, size, time' },
    recursive: { type: 'boolean', short: 'R', describe: 'and everything below' },
  },
  examples: [
    ['ls demo', 'the top of the newest version'],
    ['ls demo@7:src -l', 'a directory of an old one'],
    ['ls demo -R | wc -l', 'how many paths there are'],
  ],
  run: async ({ workspace }, { long, recursive }, { settings, output }) => {
    const reference = parsePathReference(workspace);
    const path = reference.path ?? Buffer.alloc(0);
    await withStores(settings, async (stores) => {
      const found = await findVersion(stores.catalog, reference);
      await withManifest(settings, stores, found, async (manifest) => {
        const inode = await inodeAt(manifest, found, path);
        if (!isDirectory(inode.mode)) {
          await printEntry(manifest, { path, inode }, long, output);
          return;
        }
        for (const entry of entriesBelow(manifest, inode.ino, Buffer.alloc(0), recursive)) {
          await printEntry(manifest, entry, long, output);
        }
      });
    });
  },
});
