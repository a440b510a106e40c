import type { WorkingCopy } from '../../manifest/index.js';
import type { ObjectStore } from '../../objects/index.js';
import type { SealedLayer } from '../../upper/index.js';
import type { ApplyOptions } from './apply-layer.js';

export interface PublishOptions extends ApplyOptions {
  sealed: SealedLayer;
  objects: ObjectStore;
  manifestDir: string;
  /** Of `manifestDir`. */
  workingCopy: WorkingCopy;
  /** Nobody has tried to publish this layer: the catalog need not be asked whether it has been. */
  isFirstAttempt: boolean;
  /** Where the head is not the base any more: whether the layer may be merged with it. */
  mayRebase: boolean;
}
