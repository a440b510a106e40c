import type { Target } from '../target.js';
import { blocks } from './blocks.js';
import { journals } from './journals.js';
import { requests } from './requests.js';

export const TARGETS: readonly Target[] = [blocks, journals, requests];
