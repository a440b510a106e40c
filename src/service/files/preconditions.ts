import type { IncomingHttpHeaders } from 'node:http';
import { HttpProblem } from '../http-problem.js';

/** What a conditional request is held against. */
export interface Validators {
  /** With its quotes. */
  etag: string;
  modifiedMs: number;
}

/** Whether one of a header's entity tags is this; weak ones count as well. */
function listsTag(header: string, etag: string): boolean {
  return header.split(',').some((part) => {
    const tag = part.trim();
    return tag === '*' || tag === etag || tag === `W/${etag}`;
  });
}

/** HTTP dates have seconds. An invalid one is no date. */
function secondsOf(date: string | undefined): number | undefined {
  const ms = date === undefined ? NaN : Date.parse(date);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}

/**
 * Whether a reader has what there is already (RFC 9110, 13.2.2). Throws 412 where the request wants something else than there is.
 */
export function isNotModified(headers: IncomingHttpHeaders, { etag, modifiedMs }: Validators): boolean {
  const modified = Math.floor(modifiedMs / 1000);
  const ifMatch = headers['if-match'];
  const unmodifiedSince = secondsOf(headers['if-unmodified-since']);
  if (ifMatch !== undefined ? !listsStrongTag(ifMatch, etag) : modified > (unmodifiedSince ?? Infinity)) {
    throw preconditionFailed('it is not what the request expects');
  }
  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch !== undefined) return listsTag(ifNoneMatch, etag);
  return modified <= (secondsOf(headers['if-modified-since']) ?? -Infinity);
}

/** Whether a Range header counts: not when If-Range names something else than there is. */
export function mayAnswerRange(headers: IncomingHttpHeaders, { etag, modifiedMs }: Validators): boolean {
  const ifRange = headers['if-range'];
  if (ifRange === undefined) return true;
  if (typeof ifRange === 'string' && ifRange.startsWith('"')) return ifRange === etag;
  return secondsOf(String(ifRange)) === Math.floor(modifiedMs / 1000);
}

/** Throws 412 unless a writer finds what it expects: `etag` undefined: nothing is there. */
export function requireExpected(headers: IncomingHttpHeaders, etag: string | undefined): void {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = headers;
  if (ifMatch !== undefined && (etag === undefined || !listsStrongTag(ifMatch, etag))) {
    throw preconditionFailed(etag === undefined ? 'nothing is there' : 'something else is there by now');
  }
  if (ifNoneMatch !== undefined && etag !== undefined && listsTag(ifNoneMatch, etag)) {
    throw preconditionFailed('it is there already');
  }
}

function listsStrongTag(header: string, etag: string): boolean {
  return header.split(',').some((part) => part.trim() === '*' || part.trim() === etag);
}

function preconditionFailed(why: string): HttpProblem {
  return new HttpProblem(412, 'precondition-failed', `nothing was done: ${why}`, {
    hint: 'read it again, then decide',
  });
}
