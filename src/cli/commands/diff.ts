import type { Version } from '../../catalog/index.js';
import { jsonPath } from '../../core/index.js';
import type { ManifestDifference } from '../../manifest/index.js';
import { CHANGE_LETTERS, CHANGE_LETTERS_HELP, type ChangeKind } from '../change-letters.js';
import { defineCommand } from '../command.js';
import { findVersion, withManifest, withStores } from '../open-version.js';
import { displayPath } from '../path-text.js';
import { countText, sizeText } from '../quantities.js';
import { parseReference, parseReferenceWithin } from '../reference.js';

const versionName = ({ workspace, seq }: Version): string => `${workspace}@${String(seq)}`;

function differenceDocument({ kind, path, from, before, after }: ManifestDifference): object {
  return {
    kind,
    ...jsonPath(path),
    ...(from === undefined ? {} : { from: jsonPath(from) }),
    ino: (after ?? before)?.ino,
    sizeBefore: before?.size,
    sizeAfter: after?.size,
  };
}

function differenceLine({ kind, path, from }: ManifestDifference): string {
  const shown = from === undefined ? displayPath(path) : `${displayPath(from)} -> ${displayPath(path)}`;
  return `${CHANGE_LETTERS[kind]} ${shown}`;
}

interface Statistics {
  counts: Record<ChangeKind, number>;
  /** Sizes of what differs, in the earlier and in the later version. */
  bytesBefore: number;
  bytesAfter: number;
}

function statistics(differences: readonly ManifestDifference[]): Statistics {
  const counts = { added: 0, modified: 0, removed: 0, renamed: 0, metadata: 0 };
  let bytesBefore = 0;
  let bytesAfter = 0;
  for (const { kind, before, after } of differences) {
    counts[kind] += 1;
    bytesBefore += before?.size ?? 0;
    bytesAfter += after?.size ?? 0;
  }
  return { counts, bytesBefore, bytesAfter };
}

function statisticsLine({ counts, bytesBefore, bytesAfter }: Statistics): string {
  const kinds = Object.entries(counts).filter(([, count]) => count > 0);
  if (kinds.length === 0) return 'no difference';
  const total = kinds.reduce((sum, [, count]) => sum + count, 0);
  const parts = kinds.map(
    ([kind, count]) => `${count.toLocaleString('en')} ${kind === 'metadata' ? 'metadata only' : kind}`,
  );
  return `${countText(total, 'path')}: ${parts.join(', ')}; ${sizeText(bytesBefore)} became ${sizeText(bytesAfter)}`;
}

export const diffCommand = defineCommand({
  name: 'diff',
  summary: 'show which paths differ between two versions',
  details: `Shows which paths differ between two versions, one a line (with --json one entry a line):
${CHANGE_LETTERS_HELP}`,
  positionals: [
    { name: 'from', describe: 'name, name@7 or name@tag' },
    {
      name: 'to',
      describe: 'another, or just 8 or a tag of the same workspace (default: its head)',
      optional: true,
    },
  ],
  options: { stat: { type: 'boolean', describe: 'only how many paths and bytes' } },
  examples: [
    ['diff demo@1', 'from version 1 to the head'],
    ['diff demo@1 2 --stat', 'how much, between two versions'],
    ['diff demo@1 fork@1', 'between two workspaces'],
  ],
  run: async ({ from, to }, { stat }, { settings, output }) => {
    const earlier = parseReference(from);
    const later =
      to === undefined ? parseReference(earlier.workspace) : parseReferenceWithin(earlier.workspace, to);
    const { diffManifests } = await import('../../manifest/index.js');
    await withStores(settings, async (stores) => {
      const versions = {
        from: await findVersion(stores.catalog, earlier),
        to: await findVersion(stores.catalog, later),
      };
      const differences = await withManifest(settings, stores, versions.from, (before) =>
        withManifest(settings, stores, versions.to, (after) => Promise.resolve(diffManifests(before, after))),
      );
      if (stat) {
        const totals = statistics(differences);
        await output.document({ from: versionName(versions.from), to: versionName(versions.to), ...totals });
        await output.line(statisticsLine(totals));
        return;
      }
      for (const difference of differences) {
        await output.document(differenceDocument(difference));
        await output.line(differenceLine(difference));
      }
    });
  },
});
