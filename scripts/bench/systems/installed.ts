import type { TimedCommands } from '../measure/timed-commands.js';

/** How each peer says its version; squashfuse and s3fs on the error output, and with a status of their own. */
const VERSIONS = {
  squashfuse_ll: { line: 'squashfuse_ll --help 2>&1 || true', version: /squashfuse (\S+)/ },
  rclone: { line: 'rclone version', version: /rclone v?(\S+)/ },
  s3fs: { line: 's3fs --version', version: /V(\d\S*)/ },
  restic: { line: 'restic version', version: /restic (\S+)/ },
  borg: { line: 'borg --version', version: /borg (\S+)/ },
  git: { line: 'git --version', version: /git version (\S+)/ },
  zstd: { line: 'zstd --version', version: /v(\d[\d.]*)/ },
  rg: { line: 'rg --version', version: /ripgrep (\S+)/ },
  fio: { line: 'fio --version', version: /fio-(\S+)/ },
} as const;

export const NOT_INSTALLED = 'not installed';

export type Program = keyof typeof VERSIONS;

/** Which programs are here, with their versions. What is not here is left out of the benchmark. */
export type Installed = Partial<Record<Program, string>>;

export async function findInstalled(commands: TimedCommands): Promise<Installed> {
  const installed: Installed = {};
  for (const [name, { line, version }] of Object.entries(VERSIONS)) {
    const output = await commands
      .shell(`command -v ${name} >/dev/null && { ${line}; }`, [])
      .catch(() => undefined);
    if (output !== undefined) installed[name as Program] = version.exec(output.stdout)?.[1] ?? '';
  }
  return installed;
}
