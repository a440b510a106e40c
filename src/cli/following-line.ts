import type { FollowState } from '../daemon/index.js';
import { timeText } from './quantities.js';

/** How a mount that follows the head stands to it, for a person. */
export function followingLine({ heldUp, problem }: FollowState): string {
  if (problem !== undefined)
    return `follows the newest version; that cannot be had since ${timeText(problem.sinceMs)}: ${problem.text}`;
  if (heldUp === undefined) return 'follows the newest version';
  return `follows the newest version, but edits here are in the way of @${String(heldUp.headSeq)} since ${timeText(heldUp.sinceMs)}: cairn snapshot --rebase merges them`;
}
