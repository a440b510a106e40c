import type { RebaseConflict } from '../daemon/index.js';
import { displayPath } from './path-text.js';

/** What a merge made of one conflict, as a line. "Others" are those who had published first. */
export function conflictLine({ kind, path, kept, beside }: RebaseConflict): string {
  return `${shown(path)}: ${WHAT[kind]}; ${outcome(kept, beside)}`;
}

const WHAT: Readonly<Record<RebaseConflict['kind'], string>> = {
  content: 'others changed it too',
  name: 'others gave the name to something else',
  metadata: 'others changed its attributes too',
  'deleted-changed': 'removed here or there, and changed on the other side',
  'renamed-twice': 'others moved it somewhere else',
  'renamed-changed': 'others moved it, or took a name of it away',
  cycle: 'each side moved one folder into the other',
};

function outcome(kept: RebaseConflict['kept'], beside: string | undefined): string {
  if (beside !== undefined) return `yours is there, theirs is ${shown(beside)}`;
  switch (kept) {
    case 'ours':
      return 'it is as you have it';
    case 'theirs':
      return 'it is as they have it';
    case 'both':
      return 'both are kept';
  }
}

function shown(path: string): string {
  return displayPath(Buffer.from(path, 'latin1'));
}
