import type { ZodType } from 'zod';
import type { Right } from '../../wire/index.js';

/** What every route says of itself; one that does not is not registered. */
export interface RouteAccess {
  /** What a token must be allowed to do; `none`: no token is asked for. */
  access: 'none' | Right;
  /**
   * Where: `service`: for `admin` one that administers the service, else any token, and the route itself looks at workspaces; `workspace`: in
   * the workspace `:ws`, with all its paths; `path`: in the workspace `:ws`, and the route itself answers with the paths alone that the token opens.
   */
  scope: 'service' | 'workspace' | 'path';
  /** What the audit log calls it: `version.list`. */
  action: string;
  /** `counted`: one row a minute for all that is alike. Absent: that for GET and HEAD, each by itself for all else. */
  audit?: 'counted' | 'each';
}

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: RouteAccess['access'];
    scope?: RouteAccess['scope'];
    action?: string;
    audit?: 'counted' | 'each';
    /** Of a route that answers in JSON lines: what a line is. */
    lines?: ZodType;
  }
}
