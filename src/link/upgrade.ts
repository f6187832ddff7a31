import type { createConnection, Socket } from 'node:net';
import { WebSocket } from 'ws';
import { quietly } from '../quiet.js';
import { isLoopback } from './url.js';

/** How long the other side may take to answer a close, in milliseconds. */
const CLOSE_MS = 2000;

/** Asks for WebSocket over a connected socket. Messages above `maxInbound` bytes end the connection. */
export function upgrade(socket: Socket, url: URL, token: string, maxInbound: number): WebSocket {
  const options = {
    createConnection: (() => socket) as typeof createConnection,
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    maxPayload: maxInbound,
    ...(needsMask(url) ? {} : { generateMask: (mask: Buffer) => void mask.fill(0) }),
    // Not in the types yet; its timer is not unref'ed.
    ...({ closeTimeout: CLOSE_MS } as object),
  };
  return quietly(() => new WebSocket(url, options));
}

/**
 * Masks protect proxies that misread plain WebSocket traffic (RFC 6455 §10.3). There are none inside TLS or this
 * machine, and XOR in JavaScript costs four times as much as the signature.
 */
function needsMask(url: URL): boolean {
  return url.protocol === 'ws:' && !isLoopback(url.hostname);
}
