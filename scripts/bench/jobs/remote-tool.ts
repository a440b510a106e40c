import { existsSync } from 'node:fs';
import path from 'node:path';
import type { TimedOutput } from '../measure/timed-commands.js';
import { NOT_INSTALLED } from '../systems/installed.js';
import { CAIRN } from '../systems/place.js';
import type { PeerMount } from '../systems/peer-mount.js';
import { RcloneMount } from '../systems/rclone.js';
import { REMOTE_WORKSPACE, type RemoteStore } from '../systems/remote-store.js';
import { S3fsMount } from '../systems/s3fs.js';
import type { Bench } from './bench.js';
import { addTime, oneLine, type JobRun } from './job-run.js';
import type { Job } from './job.js';
import { serverCosts, withRemoteStore } from './remote.js';

const DOWNLOAD_FIRST = 'download, then use';
const TREE_BUCKET = 'tree';
const ARCHIVE_BUCKET = 'archive';
const ARCHIVE = 'tree.tar.zst';
const COMPILERS = ['node_modules/typescript/bin/tsc', 'typescript/bin/tsc'];
const GET = `require('http').get(process.argv[1], (answer) => answer.pipe(process.stdout))`;
/** For a system that makes a request for every file it meets. */
const LIMIT_SECONDS = 300;

/** Runs a program of the tree: what it prints says that it came through whole. */
async function startTool(bench: Bench, tree: string, tool: string): Promise<TimedOutput> {
  const options = { limitSeconds: LIMIT_SECONDS };
  const output = await bench.commands.run('node', [path.join(tree, tool), '--version'], options);
  if (!output.stdout.startsWith('Version '))
    throw new Error(`${tool} prints: ${output.stdout.slice(0, 100)}`);
  return output;
}

function inSequence(first: TimedOutput, second: TimedOutput): TimedOutput {
  return {
    stdout: second.stdout,
    tookMs: first.tookMs + second.tookMs,
    shown: `${first.shown} && ${second.shown}`,
  };
}

/** The way without a file system: get an archive of all, unpack it, and start. */
async function downloadAndStart(bench: Bench, url: string, tool: string): Promise<TimedOutput> {
  const folder = await bench.emptyFolder(path.join(bench.folder, 'remote', 'download'));
  const words = [GET, url, folder];
  const download = await bench.commands.shell('node -e "$1" "$2" | tar -C "$3" --zstd -xf -', words);
  const started = inSequence(
    { ...download, shown: 'curl archive | tar --zstd -xf -' },
    await startTool(bench, folder, tool),
  );
  await bench.commands.run('rm', ['-rf', folder]);
  return started;
}

type Way = [system: string, start: () => Promise<TimedOutput>];

/** One that mounts a bucket. */
interface BucketPeer {
  readonly system: string;
  readonly mount: PeerMount;
  mountBucket(endpoint: string, bucket: string): Promise<TimedOutput>;
}

async function mountAndStart(
  bench: Bench,
  peer: BucketPeer,
  remote: RemoteStore,
  tool: string,
): Promise<TimedOutput> {
  try {
    const mounted = await peer.mountBucket(remote.server.endpoint, TREE_BUCKET);
    return inSequence(mounted, await startTool(bench, peer.mount.mountpoint, tool));
  } finally {
    await peer.mount.close();
  }
}

export const remoteTool: Job = {
  name: 'remote-tool',
  needs: ['zstd'],
  title: 'Start of a tool, nothing cached, the store far away',
  async measure(bench, run) {
    const { root } = await bench.tree(run);
    const tool = COMPILERS.find((name) => existsSync(path.join(root, name)));
    if (tool === undefined) throw new Error(`the tree has none of: ${COMPILERS.join(', ')}`);
    const row = run.row({ title: 'tsc --version, far store', unit: 'ms', reference: DOWNLOAD_FIRST });
    const folder = path.join(await bench.jobFolder('remote'), ARCHIVE_BUCKET);
    await bench.emptyFolder(folder);
    await bench.commands.shell('tar -C "$1" --zstd -cf "$2" .', [root, path.join(folder, ARCHIVE)]);
    await withRemoteStore(bench, run, async (remote) => {
      const { server } = remote;
      server.addBucket(TREE_BUCKET, root);
      server.addBucket(ARCHIVE_BUCKET, folder);
      const peers = await installedPeers(bench, run);
      const ways: Way[] = [
        [CAIRN, () => startOnMount(bench, remote, tool)],
        [
          DOWNLOAD_FIRST,
          () => downloadAndStart(bench, `${server.endpoint}/${ARCHIVE_BUCKET}/${ARCHIVE}`, tool),
        ],
        ...peers.map((peer): Way => [peer.system, () => mountAndStart(bench, peer, remote, tool)]),
      ];
      await bench.inRounds(ways, async ([system, start]) => {
        if (run.leftOut.has(system)) return;
        await bench.settle();
        server.take();
        try {
          addTime(row, system, await start(), serverCosts(server.take()));
        } catch (error) {
          if (system === CAIRN || system === DOWNLOAD_FIRST) throw error;
          run.leftOut.set(system, oneLine(error));
        }
      });
    });
  },
};

async function installedPeers(bench: Bench, run: JobRun): Promise<BucketPeer[]> {
  const folder = await bench.jobFolder('remote');
  return [new RcloneMount(folder), new S3fsMount(folder)].filter(({ system }) => {
    const isThere = bench.installed[system] !== undefined;
    if (!isThere) run.leftOut.set(system, NOT_INSTALLED);
    return isThere;
  });
}

async function startOnMount(bench: Bench, remote: RemoteStore, tool: string): Promise<TimedOutput> {
  return await remote.newMachine(async (home) => {
    const mounted = await home.mount(REMOTE_WORKSPACE);
    return inSequence(mounted, await startTool(bench, mounted.mount.mountpoint, tool));
  });
}
