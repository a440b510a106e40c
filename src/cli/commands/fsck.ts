import type { CheckSummary, Finding } from '../../check/index.js';
import { jsonPath } from '../../core/index.js';
import { defineCommand } from '../command.js';
import { interruptible } from '../interruption.js';
import { displayPath } from '../path-text.js';
import { openProgress } from '../progress.js';
import { countText, durationText, sizeText } from '../quantities.js';
import { parseReference } from '../reference.js';

/** Versions that are named one by one. */
const VERSIONS_SHOWN = 5;

function findingDocument(finding: Finding): object {
  return { ...finding, paths: finding.paths.map(jsonPath) };
}

function findingLine({ what, versions, paths, pathCount, advice, repaired }: Finding): string {
  const concerns = [versionText(versions), pathText(paths, pathCount)].filter((text) => text !== '');
  const concerned = concerns.length === 0 ? '' : ` (${concerns.join('; ')})`;
  const outcome = repaired === true ? 'repaired' : advice;
  return `${what}${concerned}: ${outcome}`;
}

function versionText(versions: readonly string[]): string {
  const more = versions.length - VERSIONS_SHOWN;
  const shown = versions.slice(0, VERSIONS_SHOWN).join(', ');
  return more > 0 ? `${shown} and ${countText(more, 'more version')}` : shown;
}

function pathText(paths: readonly Buffer[], count: number): string {
  const more = count - paths.length;
  const shown = paths.map(displayPath).join(', ');
  return more > 0 ? `${shown} and ${countText(more, 'more path')}` : shown;
}

function summaryLines(summary: CheckSummary, catalog: string, tookMs: number): string[] {
  const { inUse, unneededBlocks, unneededBytes, findings, repaired, left } = summary;
  const checked = [
    countText(summary.versions, 'version'),
    countText(summary.blocks, 'block'),
    countText(summary.cachedBlocks, 'cached block'),
    countText(summary.localManifests, 'local manifest'),
    countText(summary.layers, 'layer of edits', 'layers of edits'),
  ].join(', ');
  return [
    ...inUse.map((dir) => `in use, its edits were not checked: ${dir}`),
    ...(summary.catalogChecked
      ? []
      : [
          `the rows of the catalog were not checked: for that run cairn fsck where the service ${catalog} runs`,
        ]),
    ...(unneededBlocks > 0
      ? [
          `no version checked needs ${countText(unneededBlocks, 'block')} of the store, ${sizeText(unneededBytes)}`,
        ]
      : []),
    `checked ${checked} in ${durationText(tookMs)}`,
    findings === 0
      ? 'nothing is wrong'
      : `${countText(findings, 'finding')}${repaired > 0 || left !== findings ? `, ${String(repaired)} repaired, ${String(left)} left` : ''}`,
  ];
}

export const fsckCommand = defineCommand({
  name: 'fsck',
  summary: 'check catalog, store, cache and edits, and repair what can be',
  details: `Checks the catalog, every version (its manifest, its blocks in the store, its paths in the catalog), the cached blocks and manifests,
and the edits of mounts that are not in use. Changes nothing, unless --repair is given. Each finding is one line: what is damaged, the
versions and paths it concerns, and what can be done. Ends with exit code 1 when something is wrong, and is left.
With a workspace all its versions and edits are checked, and not the cache. Through a service, what its token may read is checked, but not the
rows of its catalog, and nothing of it is repaired.`,
  positionals: [{ name: 'workspace', describe: 'name[@version] (default: everything)', optional: true }],
  options: {
    'read-data': { type: 'boolean', describe: 'also fetch every block, and verify it' },
    repair: {
      type: 'boolean',
      describe: 'put right what can be from copies that verify, then check again',
    },
  },
  examples: [
    ['fsck', 'everything, without reading the content of files'],
    ['fsck demo --read-data', 'every byte of all versions of demo'],
    ['fsck --repair', 'and put right what can be'],
    ['fsck --catalog https://cairn.example.com', 'what a service has, and what this machine has of it'],
  ],
  run: async ({ workspace }, options, { settings, output }) => {
    const reference = workspace === undefined ? undefined : parseReference(workspace);
    const [{ checkAll }, { isMountInUse }] = await Promise.all([
      import('../../check/index.js'),
      import('../../daemon/index.js'),
    ]);
    const startMs = performance.now();
    const progress = await openProgress('fsck', output.json);
    const summary = await interruptible('the check was not finished', (signal) =>
      checkAll({
        home: settings.home,
        store: settings.store,
        catalog: settings.catalog,
        only: reference && { workspace: reference.workspace, ...reference.version },
        readData: options['read-data'],
        repair: options.repair,
        isInUse: isMountInUse,
        onFinding: async (finding) => {
          await output.document({ finding: findingDocument(finding) });
          await output.line(findingLine(finding));
        },
        onProgress: (state) => {
          progress.update(state);
        },
        signal,
      }),
    ).finally(() => {
      progress.stop();
    });
    const tookMs = performance.now() - startMs;
    await output.document({ ...summary, tookMs });
    for (const line of summaryLines(summary, settings.catalog, tookMs)) await output.line(line);
    return summary.left === 0;
  },
});
