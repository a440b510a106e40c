import type { Command } from './command.js';
import { mountCommand } from './commands/mount.js';
import { snapshotCommand } from './commands/snapshot.js';

/**
 * Commands by name, in the order of the help. Loading one loads nothing but its description; those that are to answer at once are there
 * already: each further file costs them half a millisecond.
 */
export const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['import', async () => (await import('./commands/import.js')).importCommand],
  ['mount', () => Promise.resolve(mountCommand)],
  ['unmount', async () => (await import('./commands/unmount.js')).unmountCommand],
  ['snapshot', () => Promise.resolve(snapshotCommand)],
  ['status', async () => (await import('./commands/status.js')).statusCommand],
  ['log', async () => (await import('./commands/log.js')).logCommand],
  ['ls', async () => (await import('./commands/ls.js')).lsCommand],
  ['cat', async () => (await import('./commands/cat.js')).catCommand],
  ['diff', async () => (await import('./commands/diff.js')).diffCommand],
  ['restore', async () => (await import('./commands/restore.js')).restoreCommand],
  ['stats', async () => (await import('./commands/stats.js')).statsCommand],
  ['fsck', async () => (await import('./commands/fsck.js')).fsckCommand],
  ['tag', async () => (await import('./commands/tag.js')).tagCommand],
  ['fork', async () => (await import('./commands/fork.js')).forkCommand],
  ['workspace', async () => (await import('./commands/workspace.js')).workspaceCommand],
  ['serve', async () => (await import('./commands/serve.js')).serveCommand],
  ['token', async () => (await import('./commands/token.js')).tokenCommand],
  ['login', async () => (await import('./commands/login.js')).loginCommand],
  ['doctor', async () => (await import('./commands/doctor.js')).doctorCommand],
]);
