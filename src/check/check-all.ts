import { setImmediate } from 'node:timers/promises';
import { CatalogAudit, isServiceUrl, type AuditedVersion } from '../catalog/index.js';
import { CairnError, homeLayout, messageOf } from '../core/index.js';
import { openObjectStore } from '../objects/index.js';
import { BlockSource } from './block-source.js';
import { checkCache, checkLocalManifests } from './check-cache.js';
import { checkCatalog } from './check-catalog.js';
import { checkMounts, type CheckedMounts } from './check-mounts.js';
import type { CheckParts } from './check-parts.js';
import { lookUpNeeded, versionsOfService } from './check-service.js';
import { checkStore, listObjects } from './check-store.js';
import { checkVersions, rethrowUnlessCorrupt } from './check-versions.js';
import type { Finding } from './finding.js';
import { ManifestShelf } from './manifest-shelf.js';
import { Reporter } from './reporter.js';
import { Scratch } from './scratch.js';

/** Steps between two turns for others. */
const STEPS_PER_TURN = 1024;

const CATALOG_ADVICE = 'restore the file from a backup: it alone says which versions there are';

export interface CheckProgress {
  filesDone: number;
  bytesDone: number;
}

export interface CheckOptions {
  home: string;
  store: string;
  /** The catalog's URL. */
  catalog: string;
  /** Only this workspace, or one version of it; undefined: everything. */
  only: { workspace: string; seq?: number; tag?: string } | undefined;
  /** Fetch and verify every block, instead of looking whether it is there. */
  readData: boolean;
  /** Put right what can be, then check again. */
  repair: boolean;
  /** Whether the mount in this folder is in use. */
  isInUse: (dir: string) => Promise<boolean>;
  onFinding: (finding: Finding) => Promise<void>;
  onProgress?: ((progress: CheckProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface CheckSummary {
  versions: number;
  blocks: number;
  /** Objects in the store no checked version needs: of a write that was killed, of another catalog, or of versions not checked. */
  unneededBlocks: number;
  unneededBytes: number;
  cachedBlocks: number;
  localManifests: number;
  layers: number;
  /** False of a service's catalog: what it says of versions was checked, and not the rows it says it from. */
  catalogChecked: boolean;
  /** Folders of mounts that are in use: their edits were not looked at. */
  inUse: string[];
  findings: number;
  repaired: number;
  /** Findings of the check after the repair. Without a repair: all. */
  left: number;
}

/**
 * Checks everything, or one workspace. Changes nothing, unless a repair is asked for; then what that left is found by a second check.
 * Throws `CairnError`: `not-found` for a workspace or version that is not there, `unreachable` and `access-denied` as the store does.
 */
export async function checkAll(options: CheckOptions): Promise<CheckSummary> {
  const progress: CheckProgress = { filesDone: 0, bytesDone: 0 };
  const first = await checkOnce(options, options.repair, progress);
  if (!options.repair || first.findings === 0) return first;
  const { findings } = await checkOnce(options, false, progress);
  return { ...first, left: findings };
}

async function checkOnce(
  options: CheckOptions,
  repair: boolean,
  progress: CheckProgress,
): Promise<CheckSummary> {
  const { home, only } = options;
  const ofService = isServiceUrl(options.catalog);
  const scratch = new Scratch();
  const reporter = new Reporter(repair, options.onFinding);
  const catalog = ofService ? undefined : await openAudit(options, scratch, reporter);
  try {
    const versions = ofService
      ? await versionsOfService(options)
      : await chosenVersions(catalog, only, reporter);
    // A repair may sweep what writers that died have left; a check may not.
    const objects = await openObjectStore(options.store, { leaveAsIs: !repair, home, pastCaches: true });
    try {
      const cacheDir = homeLayout.cache(home);
      const manifestDir = homeLayout.manifests(home);
      const source = new BlockSource({ objects, cacheDir, manifestDir });
      const parts: CheckParts = {
        home,
        catalogUrl: options.catalog,
        cacheDir,
        manifestDir,
        readData: options.readData,
        scratch,
        reporter,
        objects,
        source,
        shelf: new ManifestShelf({ localDir: manifestDir, scratchDir: scratch.dir, objects, source }),
        catalog,
        versions,
        step: stepper(options, progress),
      };
      const lists = !isServiceUrl(options.store);
      if (lists) await listObjects(parts);
      const lookUp = lists ? [] : [lookUpNeeded];
      // The home's copies come after the store, which may be put right from them.
      for (const part of [checkCatalog, checkVersions, ...lookUp, checkStore])
        await asFarAsItReads(catalog, reporter, () => part(parts));
      const whole = only === undefined;
      const localManifests = whole ? await checkLocalManifests(parts) : 0;
      const cachedBlocks = whole ? await checkCache(parts) : 0;
      const mounts = await checkMounts(parts, options.isInUse, only?.workspace);
      return summary(parts, { localManifests, cachedBlocks, mounts });
    } finally {
      await objects.close();
    }
  } finally {
    catalog?.close();
    scratch.close();
  }
}

function summary(
  { scratch, reporter, versions, catalogUrl }: CheckParts,
  local: { localManifests: number; cachedBlocks: number; mounts: CheckedMounts },
): CheckSummary {
  const unneeded = scratch.unneeded();
  return {
    versions: versions.length,
    blocks: scratch.neededCount,
    unneededBlocks: unneeded.count,
    unneededBytes: unneeded.bytes,
    cachedBlocks: local.cachedBlocks,
    localManifests: local.localManifests,
    layers: local.mounts.layers,
    catalogChecked: !isServiceUrl(catalogUrl),
    inUse: local.mounts.inUse,
    findings: reporter.findings,
    repaired: reporter.repaired,
    left: reporter.findings,
  };
}

/** Without a catalog that can be read there are no versions to check; everything else still is. */
async function openAudit(
  { catalog, only }: CheckOptions,
  scratch: Scratch,
  reporter: Reporter,
): Promise<CatalogAudit | undefined> {
  try {
    return await CatalogAudit.open(catalog, scratch.dir);
  } catch (error) {
    rethrowUnlessCorrupt(error);
    if (only !== undefined) throw error;
    await reporter.found({
      place: 'catalog',
      what: messageOf(error),
      advice: CATALOG_ADVICE,
    });
    return undefined;
  }
}

/** A part of the check that ends where the catalog cannot be read any further. */
async function asFarAsItReads(
  catalog: CatalogAudit | undefined,
  reporter: Reporter,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await (catalog === undefined ? work() : catalog.reading(work));
  } catch (error) {
    if (!(error instanceof CairnError) || error.code !== 'corrupt') throw error;
    await reporter.found({ place: 'catalog', what: error.message, advice: CATALOG_ADVICE });
  }
}

async function chosenVersions(
  catalog: CatalogAudit | undefined,
  only: CheckOptions['only'],
  reporter: Reporter,
): Promise<AuditedVersion[]> {
  let chosen: AuditedVersion[] = [];
  if (catalog === undefined) return chosen;
  await asFarAsItReads(catalog, reporter, () => {
    chosen = versionsNamed(catalog, only);
    return Promise.resolve();
  });
  return chosen;
}

function versionsNamed(catalog: CatalogAudit, only: CheckOptions['only']): AuditedVersion[] {
  if (only === undefined) return catalog.versions();
  const { workspace, tag } = only;
  if (!catalog.hasWorkspace(workspace)) throw new CairnError('not-found', `no workspace "${workspace}"`);
  const seq = tag === undefined ? only.seq : catalog.taggedSeq(workspace, tag);
  const versions = catalog.versions(workspace);
  if (seq === undefined && tag === undefined) return versions;
  const chosen = versions.filter((version) => version.seq === seq);
  if (chosen.length > 0) return chosen;
  throw new CairnError('not-found', `workspace "${workspace}" has no version ${tag ?? String(seq)}`);
}

function stepper(
  { onProgress, signal }: CheckOptions,
  progress: CheckProgress,
): (bytes?: number) => Promise<void> {
  return async (bytes = 0) => {
    progress.filesDone += 1;
    progress.bytesDone += bytes;
    if (bytes === 0 && progress.filesDone % STEPS_PER_TURN !== 0) return;
    onProgress?.(progress);
    await setImmediate();
    signal?.throwIfAborted();
  };
}
