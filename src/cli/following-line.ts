import type { FollowState } from '../daemon/index.js';
import { timeText } from './quantities.js';

/** How a mount that follows the head stands to it, for a person. */
export function followingLine({ heldUp, problem }: FollowState, readOnly: boolean): string {
  if (problem !== undefined)
    return `follows the newest version; that cannot be had since ${timeText(problem.sinceMs)}: ${problem.text}`;
  if (heldUp === undefined) return 'follows the newest version';
  const since = `@${String(heldUp.headSeq)} since ${timeText(heldUp.sinceMs)}`;
  if (readOnly)
    return `follows the newest version, but a file that was removed, is still open here, and came back is in the way of ${since}: close it`;
  return `follows the newest version, but edits here are in the way of ${since}: cairn snapshot --rebase merges them`;
}
