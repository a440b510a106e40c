import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { homeLayout, joinPath, messageOf, ROOT_INO, type Ino } from '../core/index.js';
import {
  auditLayer,
  LayerSet,
  layerDir,
  MergedView,
  UpperLayer,
  type LayerSetState,
} from '../upper/index.js';
import type { CheckParts } from './check-parts.js';
import { rethrowUnlessCorrupt } from './check-versions.js';

/** Directories above one another that are followed to a path; beyond that they go round in a circle. */
const DEPTH_MAX = 4096;

export interface CheckedMounts {
  layers: number;
  /** Folders of mounts that are in use, which were left alone. */
  inUse: string[];
}

/** The edits below the mounts of the home, as far as nobody is at them. */
export async function checkMounts(
  parts: CheckParts,
  isInUse: (dir: string) => Promise<boolean>,
  workspace: string | undefined,
): Promise<CheckedMounts> {
  const checked: CheckedMounts = { layers: 0, inUse: [] };
  const mounts = homeLayout.mounts(parts.home);
  for (const name of existsSync(mounts) ? readdirSync(mounts).sort() : []) {
    const dir = join(mounts, name);
    if (await isInUse(dir)) {
      checked.inUse.push(dir);
      continue;
    }
    let state: LayerSetState | undefined;
    try {
      state = LayerSet.read(dir);
    } catch (error) {
      await parts.reporter.found({
        place: 'mount',
        what: messageOf(error),
        advice: `the edits are in ${join(dir, 'layers')}; nothing there was changed, and nothing will be while this file is damaged`,
      });
      continue;
    }
    if (state === undefined || (workspace !== undefined && state.base.workspace !== workspace)) continue;
    checked.layers += await checkLayers(parts, name, dir, state);
  }
  return checked;
}

async function checkLayers(
  parts: CheckParts,
  name: string,
  dir: string,
  state: LayerSetState,
): Promise<number> {
  const { base, activeId, sealed, retained } = state;
  const version = `${base.workspace}@${String(base.seq)}`;
  await checkBase(parts, dir, state);
  const stack = [...sealed.map((layer) => layer.id), activeId];
  const ids = new Set([...stack, ...retained.flatMap((kept) => kept.layerIds)]);
  const scratchOf = (id: number): string => join(parts.scratch.dir, 'layers', name, String(id));
  const problems: { what: string; ino?: Ino }[] = [];
  for (const id of ids) {
    for (const problem of auditLayer(layerDir(dir, id), scratchOf(id))) {
      await parts.step();
      problems.push(problem);
      // A layer that is damaged everywhere is told by its first places.
      if (problems.length >= PROBLEMS_TOLD) break;
    }
  }
  if (problems.length === 0) return ids.size;
  const paths = await pathsOf(
    parts,
    state,
    stack.map(scratchOf).reverse(),
    problems.map((problem) => problem.ino),
  );
  for (const [index, { what }] of problems.entries()) {
    const path = paths[index];
    await parts.reporter.found({
      place: 'mount',
      what: `edits on ${version}: ${what}`,
      versions: [version],
      paths: path === undefined ? [] : [path],
      advice:
        'a layer is never repaired: copy what still reads from the mount, or restore the folder from a backup',
    });
  }
  return ids.size;
}

const PROBLEMS_TOLD = 1000;

async function checkBase(parts: CheckParts, dir: string, { base }: LayerSetState): Promise<void> {
  const { catalog, reporter } = parts;
  if (catalog === undefined) return;
  const known = await catalog
    .reading(() => Promise.resolve(catalog.versions(base.workspace)))
    .then((versions) => versions.find((version) => version.seq === base.seq))
    // That the catalog cannot be read was told.
    .catch(rethrowUnlessCorrupt);
  if (known?.root === base.root) return;
  await reporter.found({
    place: 'catalog',
    what: `the edits in ${dir} are on ${base.workspace}@${String(base.seq)} (manifest ${base.root}), which the catalog does not have`,
    versions: [`${base.workspace}@${String(base.seq)}`],
    advice:
      'the catalog has lost versions, or it is another one: check --catalog, or restore it from a backup',
  });
}

/** The paths of inodes as a mount of the stack would show them, as far as what is left of it says. */
async function pathsOf(
  parts: CheckParts,
  { base }: LayerSetState,
  stack: readonly string[],
  inos: readonly (Ino | undefined)[],
): Promise<(Buffer | undefined)[]> {
  const layers: UpperLayer[] = [];
  try {
    for (const dir of stack) {
      const layer = openIfItOpens(dir);
      // One that is damaged was told; without it nobody knows the paths.
      if (layer === undefined) return [];
      layers.push(layer);
    }
    return await parts.shelf.with(base.root, (manifest) => {
      const view = new MergedView(layers, manifest);
      return Promise.resolve(inos.map((ino) => (ino === undefined ? undefined : pathIn(view, ino))));
    });
  } catch (error) {
    rethrowUnlessCorrupt(error);
    return [];
  } finally {
    for (const layer of layers) layer.close();
  }
}

function openIfItOpens(dir: string): UpperLayer | undefined {
  try {
    return UpperLayer.open(dir, false);
  } catch {
    return undefined;
  }
}

function pathIn(view: MergedView, ino: Ino): Buffer | undefined {
  try {
    const names: Buffer[] = [];
    for (let at = ino; at !== ROOT_INO;) {
      const [entry] = view.namesOf(at);
      if (entry === undefined || names.length > DEPTH_MAX) return undefined;
      names.push(entry.name);
      at = entry.parent;
    }
    return names.reverse().reduce((directory, name) => joinPath(directory, name), Buffer.alloc(0));
  } catch {
    // What says so is itself damaged.
    return undefined;
  }
}
