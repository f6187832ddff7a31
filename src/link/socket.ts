import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import * as tls from 'node:tls';
import { quietly } from '../quiet.js';
import { LinkError } from './errors.js';
import { proxyFor } from './proxy.js';

export type Environment = { readonly [name: string]: string | undefined };

export interface SocketOptions {
  readonly env: Environment;
  /** For everything until the socket is ready. */
  readonly timeoutMs: number;
}

const MAX_PROXY_ANSWER = 16 * 1024;

/**
 * A connected socket to a `ws(s)` or `http(s)` address, through the proxy the environment names, encrypted where the
 * address says so. Never keeps the process alive. Rejects with `LinkError` `unreachable`.
 */
export async function openSocket(url: URL, { env, timeoutMs }: SocketOptions): Promise<Socket> {
  const secure = url.protocol === 'wss:' || url.protocol === 'https:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port) || (secure ? 443 : 80);
  const proxy = proxyFor(url, env);
  const target = { host, port, ca: authorities(env) };
  const within = deadline(timeoutMs, proxy === undefined ? url.host : `${url.host} through ${proxy.host}`);
  try {
    if (proxy === undefined) return await within(secure ? connectTls(target) : connect(target));
    const proxyHost = proxy.hostname.replace(/^\[|\]$/g, '');
    const proxySecure = proxy.protocol === 'https:';
    const hop = { host: proxyHost, port: Number(proxy.port) || (proxySecure ? 443 : 80), ca: target.ca };
    const tunnel = await within(proxySecure ? connectTls(hop) : connect(hop));
    await within(openTunnel(tunnel, `${url.hostname}:${port}`, proxy));
    return secure ? await within(connectTls(target, tunnel)) : tunnel;
  } catch (cause) {
    if (cause instanceof LinkError) throw cause;
    throw new LinkError('unreachable', reasonOf(cause as SocketError), { cause });
  }
}

interface SocketError extends Error {
  readonly code?: string;
  /** Of OpenSSL, whose messages hold addresses of memory and files of its own. */
  readonly reason?: string;
  /** One for each address that was tried. */
  readonly errors?: readonly Error[];
}

function reasonOf({ code = '', message, reason, errors }: SocketError): string {
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER') return `nobody speaks TLS there (${code})`;
  const text =
    (code.startsWith('ERR_SSL') && reason) || message || errors?.map((each) => each.message).join(', ') || '';
  return text.includes(code) ? text : `${text} (${code})`;
}

type Opening = { readonly socket: Socket; readonly ready: Promise<Socket> };

function opening(socket: Socket, event: 'connect' | 'secureConnect'): Opening {
  socket.unref();
  // Several addresses are tried with a handle each, made after the name was looked up.
  socket.on('connectionAttempt', () => socket.unref());
  const ready = new Promise<Socket>((resolve, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(new LinkError('unreachable', 'the connection was closed at once')));
    socket.once(event, () => {
      socket.removeAllListeners('error').removeAllListeners('close').removeAllListeners('connectionAttempt');
      resolve(socket);
    });
  });
  return { socket, ready };
}

interface Target {
  readonly host: string;
  readonly port: number;
  readonly ca: readonly string[] | undefined;
}

function connect({ host, port }: Target): Opening {
  const options = { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 };
  return opening(
    quietly(() => connectTcp(options)),
    'connect',
  );
}

function connectTls({ host, port, ca }: Target, tunnel?: Socket): Opening {
  const options: tls.ConnectionOptions = {
    host,
    port,
    servername: /^[\d.]+$|:/.test(host) ? '' : host,
    ALPNProtocols: ['http/1.1'],
    ...(ca === undefined ? {} : { ca: [...ca] }),
    ...(tunnel === undefined ? {} : { socket: tunnel }),
  };
  const socket = quietly(() => tls.connect(options));
  socket.setNoDelay(true);
  return opening(socket, 'secureConnect');
}

/** Destroys the socket that is not ready in time. */
function deadline(timeoutMs: number, what: string): (step: Opening) => Promise<Socket> {
  const end = Date.now() + timeoutMs;
  return async ({ socket, ready }) => {
    const timer = setTimeout(
      () => socket.destroy(new LinkError('unreachable', `no connection to ${what} within ${timeoutMs} ms`)),
      Math.max(end - Date.now(), 1),
    ).unref();
    try {
      return await ready;
    } finally {
      clearTimeout(timer);
    }
  };
}

function openTunnel(socket: Socket, authority: string, proxy: URL): Opening {
  const credentials =
    proxy.username === ''
      ? ''
      : `Proxy-Authorization: Basic ${Buffer.from(
          `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`,
        ).toString('base64')}\r\n`;
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials}\r\n`);
  const ready = new Promise<Socket>((resolve, reject) => {
    let answer = Buffer.alloc(0);
    const fail = (message: string): void => {
      socket.destroy();
      reject(new LinkError('unreachable', `the proxy ${proxy.host} ${message}`));
    };
    socket.once('error', reject);
    socket.once('close', () => fail('closed the connection'));
    socket.on('data', (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk]);
      const end = answer.indexOf('\r\n\r\n');
      if (end < 0 && answer.length < MAX_PROXY_ANSWER) return;
      const status = /^HTTP\/1\.[01] (\d{3})/.exec(answer.toString('latin1', 0, 64))?.[1];
      if (end < 0 || status !== '200') {
        fail(`refused the connection to ${authority} (${status ?? 'not HTTP'}); see HTTPS_PROXY and NO_PROXY`);
        return;
      }
      socket.removeAllListeners('error').removeAllListeners('close').removeAllListeners('data');
      socket.pause();
      if (answer.length > end + 4) socket.unshift(answer.subarray(end + 4));
      resolve(socket);
    });
  });
  return { socket, ready };
}

/** Node knows NODE_EXTRA_CA_CERTS by itself, but only as long as nobody names authorities. */
function authorities(env: Environment): readonly string[] | undefined {
  const file = env.SSL_CERT_FILE;
  if (!file) return undefined;
  const own = readAuthorities(file);
  const extra = env.NODE_EXTRA_CA_CERTS ? readAuthorities(env.NODE_EXTRA_CA_CERTS) : [];
  return own.length === 0 ? undefined : [...tls.rootCertificates, ...extra, ...own];
}

function readAuthorities(file: string): readonly string[] {
  try {
    return [readFileSync(file, 'utf8')];
  } catch (cause) {
    throw new LinkError('unreachable', `the certificates of ${file} cannot be read (see SSL_CERT_FILE)`, { cause });
  }
}
