/*
 * A file's path in a URL is bytes, escaped as %XX, whatever their encoding, with slashes between names. The router knows text without slashes alone, so such
 * a URL is rewritten before it: the path becomes one segment that stands for its bytes.
 */

const FILE_URL = /^(\/v1\/workspaces\/[^/?#]+\/versions\/[^/?#]+\/files)(\/[^?#]*)?(\?[^#]*)?/;

/** Stands for a path that is escaped wrongly. */
const NO_PATH = '!';

/** The URL as the router is to see it. */
export function routedUrl(url: string): string {
  const [, before, path = '', query = ''] = FILE_URL.exec(url) ?? [];
  return before === undefined ? url : `${before}/${segmentOf(path.slice(1))}${query}`;
}

/** The path that a segment of `routedUrl` stands for; undefined for one that was escaped wrongly. Empty for the root. */
export function pathOfSegment(segment: string): Buffer | undefined {
  return segment.startsWith('~') ? Buffer.from(segment.slice(1), 'base64url') : undefined;
}

function segmentOf(escaped: string): string {
  if (/%(?![0-9a-fA-F]{2})/.test(escaped)) return NO_PATH;
  const bytes = escaped.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(parseInt(hex, 16)),
  );
  return `~${Buffer.from(bytes, 'latin1').toString('base64url')}`;
}
