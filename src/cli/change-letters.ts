/** How a path differs between two versions, or between a version and the edits on it. */
export type ChangeKind = 'added' | 'modified' | 'removed' | 'renamed' | 'metadata';

/** The letters of `git status --short`, and `m` for what git does not keep. */
export const CHANGE_LETTERS: Readonly<Record<ChangeKind, string>> = {
  added: 'A',
  modified: 'M',
  removed: 'D',
  renamed: 'R',
  metadata: 'm',
};

export const CHANGE_LETTERS_HELP =
  'A added · M modified · D deleted · R renamed · m only mode, owner, times or attributes';
