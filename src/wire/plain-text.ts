import { CairnError } from '../core/index.js';

const LOOPBACK = /^(?:localhost|(?:[^.]+\.)*localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** Whether a host, as a URL names it, is this machine whoever asks. */
export function isLoopback(hostname: string): boolean {
  return LOOPBACK.test(hostname);
}

/**
 * Throws `usage` for a URL to which a token would go for everybody on the way to read: over HTTP to another machine. `CAIRN_ALLOW_HTTP=1` allows that, for a network that
 * encrypts by itself.
 */
export function refusePlainText(url: string): void {
  const { protocol, hostname, origin } = new URL(url);
  if (protocol === 'https:' || isLoopback(hostname) || process.env['CAIRN_ALLOW_HTTP'] === '1') return;
  throw new CairnError('usage', `the token would go to ${origin} in plain text`, {
    hint: 'use https://, or set CAIRN_ALLOW_HTTP=1 if the network between is safe',
  });
}
