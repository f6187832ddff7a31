import { LinkError } from './errors.js';
import type { Environment } from './socket.js';

/** The proxy an address is reached through, by the usual variables (either case); undefined for none. */
export function proxyFor(url: URL, env: Environment): URL | undefined {
  const secure = url.protocol === 'wss:' || url.protocol === 'https:';
  const read = (name: string): string | undefined => env[name.toLowerCase()] || env[name] || undefined;
  const text = read(secure ? 'HTTPS_PROXY' : 'HTTP_PROXY') ?? read('ALL_PROXY');
  if (text === undefined || bypasses(url, secure, read('NO_PROXY') ?? '')) return undefined;
  let proxy: URL;
  try {
    proxy = new URL(text.includes('://') ? text : `http://${text}`);
  } catch (cause) {
    throw new LinkError('unreachable', 'Expected HTTPS_PROXY to be an address like http://proxy:3128', { cause });
  }
  if (proxy.protocol !== 'http:' && proxy.protocol !== 'https:') {
    throw new LinkError('unreachable', `Expected HTTPS_PROXY to begin with http:// or https://, got ${proxy.protocol}`);
  }
  return proxy;
}

/** NO_PROXY: hosts, domains with or without a leading dot or `*.`, `host:port`, or `*`. */
function bypasses(url: URL, secure: boolean, list: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (secure ? '443' : '80');
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((item) => item !== '')
    .some((item) => {
      if (item === '*') return true;
      const [, name = item, wanted] = /^([^:]+|\[.*\]):(\d+)$/.exec(item) ?? [];
      if (wanted !== undefined && wanted !== port) return false;
      const domain = name.replace(/^\[|\]$/g, '').replace(/^\*?\./, '');
      return host === domain || host.endsWith(`.${domain}`);
    });
}
