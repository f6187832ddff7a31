import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { ProtocolError } from './errors.js';

/** What an operator must present to purge a queue of that depth (protocol.md §6.3): lowercase hex. */
export function purgeToken(secret: Uint8Array, queue: string, depth: number): string {
  return createHmac('sha256', secret).update(`purge|${queue}|${depth}`).digest('hex');
}

/** The unkeyed token of brains up to 1.6: anyone can compute it, so it proves nothing. */
export function legacyPurgeToken(queue: string, depth: number): string {
  return createHash('sha256').update(`purge|${queue}|${depth}`).digest('hex');
}

/** Compares in constant time; false for anything that is no text of the same length. */
export function sameToken(expected: string, given: unknown): boolean {
  if (typeof given !== 'string') return false;
  const a = Buffer.from(expected);
  const b = Buffer.from(given);
  return a.length === b.length && timingSafeEqual(a, b);
}

/**
 * The 32-byte secret a brain derives for a project from its master secret; what a stub brain needs.
 * Throws `ProtocolError` `secret` when `projectId` is not a UUID.
 */
export function projectSecret(master: string, projectId: string): Buffer {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(projectId)) {
    throw new ProtocolError('secret', 'Expected the project id to be a UUID');
  }
  const id = Buffer.from(projectId.replaceAll('-', ''), 'hex');
  // The mixed-endian form of a UUID: its first three groups are little-endian.
  id.subarray(0, 4).reverse();
  id.subarray(4, 6).reverse();
  id.subarray(6, 8).reverse();
  return createHmac('sha256', master).update('z4j-project-secret-v1:').update(id).digest();
}
