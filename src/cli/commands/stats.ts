import type { MountStats } from '../../daemon/index.js';
import { defineCommand } from '../command.js';
import { withMount } from '../find-mount.js';
import { publishingLines } from '../publishing-lines.js';
import { countText, durationText, sizeText, timeText } from '../quantities.js';

function byCount(requests: Readonly<Record<string, number>>): string {
  const rows = Object.entries(requests).filter(([, count]) => count > 0);
  rows.sort(([, a], [, b]) => b - a);
  return rows.length === 0
    ? 'none'
    : rows.map(([name, count]) => `${name} ${count.toLocaleString('en')}`).join(', ');
}

function outageLines({ outage }: MountStats['store']): string[] {
  return outage === undefined ? [] : [`away       since ${timeText(outage.sinceMs)}: ${outage.problem}`];
}

function statsLines(stats: MountStats): string[] {
  const { supervisor, daemon, fuse, cache, store, memory } = stats;
  const lookups = cache.hits + cache.misses;
  const hitShare = lookups === 0 ? '' : ` (${((100 * cache.hits) / lookups).toFixed(1)} % hits)`;
  const restarts = countText(supervisor.restarts, 'restart');
  return [
    `processes  supervisor ${String(supervisor.pid)}, daemon ${String(daemon.pid)} for ${durationText(daemon.uptimeMs)}, ${restarts}`,
    `requests   ${byCount(fuse.requests)}`,
    `cache      ${sizeText(cache.bytes)} of ${sizeText(cache.budgetBytes)}, ${String(cache.hits)} hits, ${String(cache.misses)} misses${hitShare}, ${String(cache.prefetched)} fetched ahead`,
    `store      ${store.url}: ${byCount(store.requests)}, ${countText(store.retries, 'retry', 'retries')}`,
    ...outageLines(store),
    `transfer   ${sizeText(store.bytesIn)} in, ${sizeText(store.bytesOut)} out`,
    `memory     supervisor ${sizeText(memory.supervisorBytes)}, daemon ${sizeText(memory.daemonBytes)} (heap ${sizeText(memory.heapUsedBytes)})`,
    ...publishingLines(stats.publishing, Date.now()),
  ];
}

export const statsCommand = defineCommand({
  name: 'stats',
  summary: 'show what a mount has done: requests, cache, store, memory',
  positionals: [
    { name: 'mountpoint', describe: 'the mount, or any path in it (default: here)', optional: true },
  ],
  options: {},
  examples: [
    ['stats ~/demo', 'since its daemon started'],
    ['stats ~/demo --json | jq .cache', 'one part, for a program'],
  ],
  run: async ({ mountpoint = '.' }, _options, { settings, output }) => {
    const stats = await withMount(settings.home, mountpoint, (control) => control.stats());
    await output.document(stats);
    for (const line of statsLines(stats)) await output.line(line);
  },
});
