import { CatalogRepair, type AuditedVersion, type CatalogProblem } from '../catalog/index.js';
import { ROOT_INO, type ContentId } from '../core/index.js';
import { walk, type ManifestReader } from '../manifest/index.js';
import { nameOf, type CheckParts } from './check-parts.js';
import type { Repair } from './finding.js';

/** The catalog in itself. */
export async function checkCatalog(parts: CheckParts): Promise<void> {
  const { catalog, reporter } = parts;
  if (catalog === undefined) return;
  const rebuilt = new Set<string>();
  for (const problem of catalog.problems()) {
    await reporter.found(
      {
        place: 'catalog',
        what: `catalog: ${problem.what}`,
        versions: problem.workspace === undefined ? [] : [problem.workspace],
        advice: adviceFor(problem),
      },
      repairOf(parts, problem, rebuilt),
    );
    await parts.step();
  }
}

/** Makes `path → hash` of a workspace anew from the manifests of all its versions. */
async function rebuildPaths(parts: CheckParts, workspace: string): Promise<boolean> {
  const newestSeq = parts.catalog?.versions(workspace).at(-1)?.seq ?? 0;
  await withRepair(parts, (repair) =>
    repair.rebuildPaths(workspace, newestSeq, versionPaths(parts, workspace)),
  );
  return true;
}

/** Opens the catalog for a repair. */
export async function withRepair(
  parts: CheckParts,
  work: (repair: CatalogRepair) => Promise<void>,
): Promise<void> {
  const repair = await CatalogRepair.open(parts.catalogUrl);
  try {
    await work(repair);
  } finally {
    await repair.close();
  }
}

function adviceFor({ remedy }: CatalogProblem): string {
  switch (remedy?.kind) {
    case undefined:
      return 'restore the catalog from a backup; nothing else knows this';
    case 'reindex':
      return 'cairn fsck --repair makes the indexes anew; what then is left needs a backup';
    case 'head':
      return 'cairn fsck --repair makes the newest version the head again';
    case 'row':
      return 'cairn fsck --repair puts it back: with one byte changed it verifies';
    case 'paths':
      return 'cairn fsck --repair makes the rows anew from the manifests';
    case 'content':
      return 'cairn fsck --repair makes the row anew from the manifests';
  }
}

function repairOf(parts: CheckParts, problem: CatalogProblem, rebuilt: Set<string>): Repair | undefined {
  const { remedy } = problem;
  switch (remedy?.kind) {
    case undefined:
      return undefined;
    case 'reindex':
      return async () => {
        if (!rebuilt.has('')) await withRepair(parts, (repair) => repair.reindex());
        rebuilt.add('');
        return true;
      };
    case 'head':
      return async () => {
        await withRepair(parts, (repair) => repair.restoreHead(remedy.workspace));
        return true;
      };
    case 'row':
      return async () => {
        await withRepair(parts, (repair) => repair.restoreRow(remedy.row));
        return true;
      };
    case 'paths':
      return async () => {
        if (rebuilt.has(remedy.workspace)) return true;
        rebuilt.add(remedy.workspace);
        return rebuildPaths(parts, remedy.workspace);
      };
    case 'content':
      // Not known any more, it is stored again by whoever has a file of it; and the check of the versions puts it back where one has it.
      return async () => {
        await withRepair(parts, (repair) => repair.forgetContent(remedy.id));
        await putContentBack(parts, remedy.id);
        return true;
      };
  }
}

/** Puts a content's row back as the first manifest has it that holds it in blocks. */
async function putContentBack(parts: CheckParts, id: ContentId): Promise<void> {
  for (const version of parts.catalog?.versions() ?? []) {
    const done = await parts.shelf
      .with(version.root, async (manifest) => {
        for (const { inode } of walk(manifest, ROOT_INO)) {
          await parts.step();
          if (manifest.content(inode.ino) !== id) continue;
          const extents = manifest.extents(inode.ino, 0, inode.size);
          if (manifest.embedded(inode.ino) !== undefined) continue;
          await withRepair(parts, (repair) => repair.putContent({ id, size: inode.size, extents }));
          return true;
        }
        return false;
      })
      .catch(() => false);
    if (done) return;
  }
}

async function* versionPaths(
  parts: CheckParts,
  workspace: string,
): AsyncGenerator<{ seq: number; rows: Iterable<ReturnType<typeof rowOf>> }> {
  for (const version of parts.catalog?.versions(workspace) ?? []) {
    const manifest = await parts.shelf.open(version.root);
    try {
      yield { seq: version.seq, rows: rowsOf(manifest) };
    } finally {
      manifest.close();
    }
  }
}

function* rowsOf(manifest: ManifestReader): Generator<ReturnType<typeof rowOf>> {
  for (const { path, inode } of walk(manifest, ROOT_INO)) yield rowOf(manifest, path, inode);
}

/** What the catalog has of a path, as the manifest says it. */
export function rowOf(
  manifest: ManifestReader,
  path: Buffer,
  { ino, size, mode }: { ino: number; size: number; mode: number },
) {
  return { path, hash: manifest.content(ino), size, mode };
}

/** Whether the catalog has the same paths as the manifest of a version; a finding where it has not. */
export class PathCheck {
  readonly #parts: CheckParts;
  readonly #rebuilt = new Set<string>();

  constructor(parts: CheckParts) {
    this.#parts = parts;
  }

  /** `undefined` when there is nothing to compare with. */
  begin(version: AuditedVersion): OpenPathCheck | undefined {
    const { catalog } = this.#parts;
    if (catalog?.hasSoundRow(version.workspace) !== true || this.#rebuilt.has(version.workspace)) {
      return undefined;
    }
    const paths = catalog.pathsOf(version);
    let entries = 0;
    let wrong = 0;
    const examples: Buffer[] = [];
    return {
      compare: (row) => {
        entries += 1;
        if (paths.has(row)) return;
        wrong += 1;
        if (examples.length < 3) examples.push(row.path);
      },
      end: async () => {
        const surplus = paths.count() - entries;
        if (wrong === 0 && surplus === 0) return;
        const name = nameOf(version);
        const more = surplus > 0 ? `, and ${String(surplus)} too many` : '';
        await this.#parts.reporter.found(
          {
            place: 'catalog',
            what: `catalog: ${String(wrong)} paths of ${name} have another hash, size or mode than in its manifest${more}`,
            versions: [name],
            paths: examples,
            pathCount: wrong,
            advice: 'cairn fsck --repair makes the rows anew from the manifests',
          },
          async () => {
            this.#rebuilt.add(version.workspace);
            return rebuildPaths(this.#parts, version.workspace);
          },
        );
      },
    };
  }
}

export interface OpenPathCheck {
  compare: (row: ReturnType<typeof rowOf>) => void;
  end: () => Promise<void>;
}
