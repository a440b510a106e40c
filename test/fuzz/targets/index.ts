import type { Target } from '../target.js';
import { commandLines } from './arguments.js';
import { blocks } from './blocks.js';
import { indexes } from './indexes.js';
import { journals } from './journals.js';
import { layers } from './layers.js';
import { manifests } from './manifests.js';
import { requests } from './requests.js';
import { settings } from './settings.js';

export const TARGETS: readonly Target[] = [
  blocks,
  indexes,
  manifests,
  journals,
  layers,
  requests,
  settings,
  commandLines,
];
