import { localManifestPath, openManifest } from '../manifest/index.js';
import { layerDir, layerHasChanges, MergedView, UpperLayer, type LayerSetState } from '../upper/index.js';

/**
 * Reads a mount's stack beside the session thread that owns it: all opened read-only for `work`, and closed after it. A mount without layers has
 * only a base.
 */
export function withStack<Result>(
  dir: string,
  manifestDir: string,
  stack: Pick<LayerSetState, 'base'> & Partial<Pick<LayerSetState, 'activeId' | 'sealed'>>,
  work: (view: MergedView) => Result,
): Result {
  const sealedIds = (stack.sealed ?? []).map((layer) => layer.id);
  const ids = stack.activeId === undefined ? [] : [...sealedIds, stack.activeId].reverse();
  const layers = ids.map((id) => UpperLayer.open(layerDir(dir, id), false));
  const manifest = openManifest(localManifestPath(manifestDir, stack.base.root));
  try {
    return work(new MergedView(layers, manifest));
  } finally {
    manifest.close();
    for (const layer of layers) layer.close();
  }
}

/** Whether the active layer of a mount holds anything that the next version would. */
export function activeLayerHasChanges(dir: string, manifestDir: string, state: LayerSetState): boolean {
  return withStack(dir, manifestDir, state, (view) => {
    const [active] = view.layers;
    return active !== undefined && layerHasChanges(active, view.below());
  });
}
