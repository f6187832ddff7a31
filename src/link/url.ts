import { isIP } from 'node:net';
import { LinkError } from './errors.js';

/** Where a brain is. */
export interface BrainAddress {
  /** `wss://brain.example/ws/agent` */
  readonly websocket: URL;
  /** `https://brain.example/api/v1/agent`, without a slash at its end. */
  readonly api: URL;
  /** `https://brain.example`, for the log. */
  readonly shown: string;
}

const EXAMPLE = 'https://brain.example';

/** Whether a host name or address can only be this machine. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, '').toLowerCase();
  if (isIP(name) === 4) return name.startsWith('127.');
  return name === 'localhost' || name.endsWith('.localhost') || name === '::1' || name.startsWith('::ffff:7f');
}

/**
 * Reads the address of a brain: `http(s)://` or `ws(s)://`, with or without `/ws`, `/ws/agent` or a path prefix.
 * Throws `LinkError` `url`, or `insecure` for an unencrypted address that leaves this machine unless `allowPlain`.
 */
export function brainAddress(text: string, { allowPlain = false }: { allowPlain?: boolean } = {}): BrainAddress {
  let url: URL;
  try {
    url = new URL(text.trim());
  } catch (cause) {
    throw new LinkError('url', `Expected the address of the brain to look like ${EXAMPLE}, got ${quote(text)}`, {
      cause,
    });
  }
  const secure = url.protocol === 'https:' || url.protocol === 'wss:';
  if (!secure && url.protocol !== 'http:' && url.protocol !== 'ws:') {
    throw new LinkError('url', `Expected the address of the brain to begin with https://, got ${quote(text)}`);
  }
  if (!secure && !allowPlain && !isLoopback(url.hostname)) {
    throw new LinkError(
      'insecure',
      `Expected an encrypted address, got ${url.protocol}//${url.host}: the token and all job data would travel in the clear; use https://${url.host}`,
    );
  }
  const prefix = url.pathname
    .replace(/\/+$/, '')
    .replace(/\/ws(\/agent)?$/, '')
    .replace(/\/+$/, '');
  return {
    websocket: new URL(`${secure ? 'wss' : 'ws'}://${url.host}${prefix}/ws/agent`),
    api: new URL(`${secure ? 'https' : 'http'}://${url.host}${prefix}/api/v1/agent`),
    shown: `${secure ? 'https' : 'http'}://${url.host}${prefix}`,
  };
}

/** Whoever put a secret into the address does not want it in the log. */
function quote(text: string): string {
  return JSON.stringify(text.replace(/\/\/[^/@]*@/, '//…@').slice(0, 120));
}
