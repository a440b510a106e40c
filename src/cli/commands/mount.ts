import { realpath, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CairnError, systemCode } from '../../core/index.js';
import { clearDead, connectMount, listMounts, startMount, takeOverMount } from '../../daemon/index.js';
import { defineCommand, type CommandContext } from '../command.js';
import { reportError } from '../error-report.js';
import { durationText } from '../quantities.js';
import { parseReference, type VersionReference } from '../reference.js';
import { ensureHome, isServiceUrl, type Settings } from '../settings.js';

async function resolveMountpoint(home: string, path: string): Promise<string> {
  const typed = resolve(path);
  try {
    const mountpoint = await realpath(typed);
    if ((await stat(mountpoint)).isDirectory()) return mountpoint;
  } catch (error) {
    if (systemCode(error) === 'ENOTCONN') {
      // All its processes were killed: what they left in the home folder is mounted again.
      if (await clearDead(home, typed)) return await resolveMountpoint(home, typed);
      throw new CairnError('conflict', `a dead mount of another home or program is at ${typed}`, {
        hint: `umount ${typed}`,
      });
    }
    if (systemCode(error) !== 'ENOENT') throw error;
    throw new CairnError('not-found', `no folder ${typed} to mount on`, { hint: `mkdir -p ${typed}` });
  }
  throw new CairnError('usage', `${typed} is not a folder`, { hint: 'mount on an empty folder' });
}

/** `https://host/name@7` names a version of a service's. */
function splitServiceUrl(text: string): { service: string | undefined; text: string } {
  if (!isServiceUrl(text)) return { service: undefined, text };
  const slash = text.lastIndexOf('/');
  const service = text.slice(0, slash);
  if (isServiceUrl(service)) return { service, text: text.slice(slash + 1) };
  throw new CairnError('usage', `${text} names no workspace`, { hint: 'as in https://host/name' });
}

/** The daemon finds the head itself; only a tag needs the catalog before it starts. */
async function requestedSeq(
  settings: Settings,
  { workspace, version }: VersionReference,
): Promise<number | undefined> {
  if (version.kind === 'head') return undefined;
  if (version.kind === 'seq') return version.seq;
  const { openCatalog } = await import('../../catalog/index.js');
  const catalog = await openCatalog(settings.catalog, settings.home);
  try {
    return (await catalog.taggedVersion(workspace, version.tag)).seq;
  } finally {
    await catalog.close();
  }
}

/** Only the head moves. */
function checkFollows({ version }: VersionReference): void {
  if (version.kind !== 'head') {
    throw new CairnError('usage', '--follow shows the newest version, not a given one', {
      hint: 'name the workspace alone, or leave out --follow',
    });
  }
}

/** This process holds a foreground mount: a signal unmounts it, unless programs still use it. */
function unmountOnSignal(home: string, mountpoint: string): void {
  const unmount = async (): Promise<void> => {
    const control = await connectMount(home, [mountpoint]);
    try {
      await control.unmount();
    } finally {
      control.close();
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      unmount().catch((error: unknown) => {
        reportError(error, { json: false, debug: false });
      });
    });
  }
}

async function printMounts({ settings, output }: CommandContext): Promise<void> {
  const mounts = await listMounts(settings.home);
  await output.document(mounts);
  for (const { mountpoint, workspace, seq, alive, problem } of mounts) {
    const version = seq === undefined ? workspace : `${workspace}@${String(seq)}`;
    if (problem !== undefined) await output.line(`${version} on ${mountpoint}: ${problem}`);
    else if (alive) await output.line(`${version} on ${mountpoint}`);
    else await output.line(`${version} not on ${mountpoint}: edits are kept there`);
  }
  if (mounts.length === 0) await output.line('nothing is mounted');
}

async function takeOver(
  path: string | undefined,
  more: string | undefined,
  { settings, output }: CommandContext,
): Promise<void> {
  if (path === undefined || more !== undefined) {
    throw new CairnError('usage', '--takeover needs the mountpoint, and nothing else', {
      hint: 'cairn mount --takeover <dir>',
    });
  }
  const startMs = performance.now();
  const mountpoint = resolve(path);
  const mounted = await takeOverMount(settings.home, mountpoint);
  const tookMs = performance.now() - startMs;
  await output.document({ ...mounted, tookMs });
  await output.line(`${mountpoint} has new processes, in ${durationText(tookMs)}`);
}

export const mountCommand = defineCommand({
  name: 'mount',
  summary: 'mount a version of a workspace as a directory, or list the mounts',
  details:
    'Mounts a version as a directory. Edits stay local until `cairn snapshot`. Without arguments: lists the mounts.',
  positionals: [
    { name: 'workspace', describe: 'name, name@7, name@tag, or https://host/name', optional: true },
    { name: 'dir', describe: 'where to mount it', optional: true },
  ],
  options: {
    'read-only': { type: 'boolean', describe: 'allow no edits' },
    follow: { type: 'boolean', describe: 'show each new version as it comes, and keep the edits' },
    'allow-other': { type: 'boolean', describe: 'let other users in, as permissions say' },
    foreground: { type: 'boolean', describe: 'stay until it is unmounted' },
    takeover: {
      type: 'boolean',
      describe: 'replace the processes of a mount that is in use by those of this release',
    },
    'log-level': { type: 'string', describe: 'of the log in the home folder (CAIRN_LOG_LEVEL)' },
  },
  examples: [
    ['mount demo ~/demo', 'mount the newest version'],
    ['mount demo@7 /mnt/old --read-only', 'look at an old one'],
    ['mount demo ~/demo --cache-size 50GiB', 'keep more on disk'],
    ['mount demo ~/demo --follow', 'see what others publish'],
    ['mount --takeover ~/demo', 'after an upgrade, without unmounting'],
    ['mount https://cairn.example.com/demo ~/demo', 'from a service; see cairn login'],
    ['mount', 'list the mounts'],
  ],
  run: async ({ workspace, dir }, options, context) => {
    const { settings, output } = context;
    if (options.takeover) {
      await takeOver(workspace, dir, context);
      return;
    }
    if (workspace === undefined) {
      await printMounts(context);
      return;
    }
    if (dir === undefined) {
      throw new CairnError('usage', `no folder to mount ${workspace} on`, {
        hint: 'cairn mount <workspace> <dir>',
      });
    }
    const startMs = performance.now();
    const { service, text } = splitServiceUrl(workspace);
    const reference = parseReference(text);
    const place = service === undefined ? settings : { ...settings, catalog: service, store: service };
    if (options.follow) checkFollows(reference);
    const mountpoint = await resolveMountpoint(settings.home, dir);
    await ensureHome(settings.home);
    const mounted = await startMount({
      home: settings.home,
      store: place.store,
      catalog: place.catalog,
      embedBelowBytes: settings.embedBelowBytes,
      workspace: reference.workspace,
      seq: await requestedSeq(place, reference),
      mountpoint,
      readOnly: options['read-only'],
      follow: options.follow,
      allowOther: options['allow-other'],
      cacheBudgetBytes: settings.cacheBudgetBytes,
      logLevel: settings.logLevel,
      foreground: options.foreground,
    });
    const tookMs = performance.now() - startMs;
    if (options.foreground) unmountOnSignal(settings.home, mountpoint);
    await output.document({ ...mounted, tookMs });
    const notes = [
      ...(mounted.readOnly ? ['read-only'] : []),
      ...(mounted.resumedEdits ? ['with the edits of the last mount here'] : []),
      ...(options.follow ? ['following the newest version'] : []),
      ...(mounted.behindHead && !options.follow
        ? ['not the newest version: edits here cannot be snapshotted']
        : []),
    ];
    const note = notes.length === 0 ? '' : ` (${notes.join(', ')})`;
    await output.line(
      `${mounted.workspace}@${String(mounted.seq)} is on ${mounted.mountpoint}${note}, in ${durationText(tookMs)}`,
    );
  },
});
