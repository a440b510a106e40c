/** What a token may do where it may do anything; none includes another. */
export const RIGHTS = ['read', 'write', 'admin'] as const;
export type Right = (typeof RIGHTS)[number];

/** What a token is limited to, once; a token's rights are what all its limits leave. */
export interface AccessLimit {
  /** Of a workspace's name; `*` stands for any characters. Absent: every workspace. */
  workspace?: string | undefined;
  /** A file, or a folder with all below it; absent or empty: every path. */
  path?: Buffer | undefined;
  can?: readonly Right[] | undefined;
  /** Good before this moment. */
  untilMs?: number | undefined;
}

const SLASH = 0x2f;

/** What the bearer of a verified token may do. */
export class Access {
  readonly tokenId: string;
  /** Whom the token was made for, in the words of who made it. */
  readonly holder: string;
  /** The only path, with all below it, that the token opens; empty for all, undefined when its limits leave none. */
  readonly path: Buffer | undefined;
  readonly untilMs: number | undefined;
  readonly workspaces: readonly string[];
  readonly can: ReadonlySet<Right>;

  constructor(token: { id: string; holder: string }, limits: readonly AccessLimit[]) {
    this.tokenId = token.id;
    this.holder = token.holder;
    this.workspaces = limits.flatMap(({ workspace }) => (workspace === undefined ? [] : [workspace]));
    this.can = new Set(
      RIGHTS.filter((right) => limits.every(({ can }) => can === undefined || can.includes(right))),
    );
    this.path = limits.reduce<Buffer | undefined>(
      (path, limit) => narrowerOf(path, limit.path ?? Buffer.alloc(0)),
      Buffer.alloc(0),
    );
    const ends = limits.flatMap(({ untilMs }) => (untilMs === undefined ? [] : [untilMs]));
    this.untilMs = ends.length === 0 ? undefined : Math.min(...ends);
  }

  /** What it may do in a workspace, on the paths it is limited to. */
  rightsIn(workspace: string): ReadonlySet<Right> {
    const opens = this.path !== undefined && this.workspaces.every((glob) => matchesGlob(workspace, glob));
    return opens ? this.can : new Set();
  }

  allows(workspace: string, right: Right): boolean {
    return this.rightsIn(workspace).has(right);
  }

  /** True for one that is limited to some paths of its workspaces. */
  get isPathLimited(): boolean {
    return this.path === undefined || this.path.length > 0;
  }

  /** Whether the path is the one it is limited to, or below it. */
  allowsPath(path: Buffer): boolean {
    return this.path !== undefined && isWithin(path, this.path);
  }

  /** Whether the path leads to what it is limited to: such a folder may be seen, of what is in it only what leads on. */
  leadsToAllowed(path: Buffer): boolean {
    return this.path !== undefined && isWithin(this.path, path);
  }

  /** Administers the service itself: admin in every workspace, whatever its name, and on every path. */
  get isAdministrator(): boolean {
    return (
      this.can.has('admin') && !this.isPathLimited && this.workspaces.every((glob) => /^\*+$/.test(glob))
    );
  }
}

function narrowerOf(one: Buffer | undefined, other: Buffer): Buffer | undefined {
  if (one === undefined) return undefined;
  if (isWithin(one, other)) return one;
  return isWithin(other, one) ? other : undefined;
}

/** Whether `path` is `folder` or below it. */
function isWithin(path: Buffer, folder: Buffer): boolean {
  if (folder.length === 0) return true;
  if (path.length < folder.length || Buffer.compare(path.subarray(0, folder.length), folder) !== 0)
    return false;
  return path.length === folder.length || path[folder.length] === SLASH;
}

/** Takes at most the product of both lengths: a holder chooses the globs of the tokens it derives. */
function matchesGlob(name: string, glob: string): boolean {
  let n = 0;
  let g = 0;
  let star = -1;
  let resumeAt = 0;
  while (n < name.length) {
    if (glob[g] === '*') {
      star = g;
      resumeAt = n;
      g += 1;
    } else if (glob[g] === name[n]) {
      n += 1;
      g += 1;
    } else if (star >= 0) {
      resumeAt += 1;
      n = resumeAt;
      g = star + 1;
    } else {
      return false;
    }
  }
  while (glob[g] === '*') g += 1;
  return g === glob.length;
}
