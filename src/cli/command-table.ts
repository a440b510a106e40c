import type { Command } from './command.js';

/** Commands by name, in the order of the help. Loading one loads nothing but its description. */
export const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['import', async () => (await import('./commands/import.js')).importCommand],
  ['mount', async () => (await import('./commands/mount.js')).mountCommand],
  ['unmount', async () => (await import('./commands/unmount.js')).unmountCommand],
  ['snapshot', async () => (await import('./commands/snapshot.js')).snapshotCommand],
  ['status', async () => (await import('./commands/status.js')).statusCommand],
  ['log', async () => (await import('./commands/log.js')).logCommand],
  ['ls', async () => (await import('./commands/ls.js')).lsCommand],
  ['cat', async () => (await import('./commands/cat.js')).catCommand],
  ['diff', async () => (await import('./commands/diff.js')).diffCommand],
  ['restore', async () => (await import('./commands/restore.js')).restoreCommand],
  ['stats', async () => (await import('./commands/stats.js')).statsCommand],
  ['doctor', async () => (await import('./commands/doctor.js')).doctorCommand],
]);
