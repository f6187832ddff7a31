import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { canonical, canonicalString } from './canonical.js';
import { ProtocolError } from './errors.js';
import { isObject, type ReadObject, readJson } from './reader.js';

/**
 * The 32 bytes of a project secret from its base64url (or base64) text, padding optional.
 * Throws `ProtocolError` `secret`; the message does not repeat the text.
 */
export function decodeSecret(text: string): Buffer {
  const trimmed = text.trim();
  if (!/^[A-Za-z0-9_+/-]*={0,2}$/.test(trimmed)) {
    throw new ProtocolError('secret', 'Expected the secret to be base64url; copy it again from the page of the agent');
  }
  const secret = Buffer.from(trimmed, 'base64url');
  if (secret.length !== 32) {
    throw new ProtocolError(
      'secret',
      `Expected the secret to be base64url of 32 bytes, got ${secret.length}; copy it again from the page of the agent`,
    );
  }
  return secret;
}

/** What both ends know and no frame carries; from `hello_ack`, on long-poll `sessionId` is the session nonce. */
export interface SessionIds {
  readonly agentId: string;
  readonly projectId: string;
  readonly sessionId: string;
}

/** Signs and checks the frames of one session. */
export class Signer {
  readonly ids: SessionIds;
  readonly #key: KeyObject;
  readonly #open: string;
  readonly #project: string;
  readonly #session: string;

  constructor(secret: Uint8Array, ids: SessionIds) {
    this.ids = ids;
    this.#key = createSecretKey(secret);
    this.#open = `{"agent_id":${canonicalString(ids.agentId)},`;
    this.#project = `,"project_id":${canonicalString(ids.projectId)}`;
    this.#session = `,"session_id":${canonicalString(ids.sessionId)}`;
  }

  /**
   * Lowercase hex HMAC of a frame given by its canonical pieces, which the wire shares: `middle` is
   * `"id":…,"nonce":…,"payload":…`, `seq` is `,"seq":…` and `end` is `,"ts":…,"type":…,"v":2`.
   */
  sign(middle: string | Uint8Array, seq: string, end: string): string {
    return createHmac('sha256', this.#key)
      .update(this.#open)
      .update(middle)
      .update(`${this.#project}${seq}${this.#session}${end}}`)
      .digest('hex');
  }

  /** HMAC of a whole frame as `readJson` gave it, whatever keys it has; `hmac` itself is left out. */
  signObject(frame: ReadObject): string {
    const { agentId, projectId, sessionId } = this.ids;
    const signed = Object.assign(Object.create(null), frame, {
      agent_id: agentId,
      project_id: projectId,
      session_id: sessionId,
    });
    delete signed.hmac;
    return createHmac('sha256', this.#key).update(canonical(signed)).digest('hex');
  }
}

/** A frame whose envelope is complete and whose signature is right. */
export interface VerifiedFrame extends ReadObject {
  readonly type: string;
  readonly id: string;
  readonly payload: ReadObject;
}

/** Reads the envelope that signed and unsigned frames share. */
export function readEnvelope(raw: string | Uint8Array): VerifiedFrame {
  const frame = readJson(raw);
  if (!isObject(frame)) throw new ProtocolError('frame', 'Expected the frame to be an object');
  if (frame.v !== 2) throw new ProtocolError('version', 'Expected `v` to be 2');
  if (typeof frame.type !== 'string') throw new ProtocolError('frame', 'Expected `type` to be a text');
  if (!isObject(frame.payload)) throw new ProtocolError('frame', 'Expected `payload` to be an object');
  if (typeof frame.id !== 'string' || frame.id.length === 0 || frame.id.length > 64) {
    throw new ProtocolError('frame', 'Expected `id` to be a text of 1 to 64 characters');
  }
  return frame as VerifiedFrame;
}

/**
 * Reads a frame and checks its signature over what its text parses to. Whether it is fresh is the replay guard's
 * matter. Throws `ProtocolError` with the codes of `readJson`, `version`, `frame`, `unsignable` or `signature`.
 */
export function verifyFrame(raw: string | Uint8Array, signer: Signer): VerifiedFrame {
  const frame = readEnvelope(raw);
  const { hmac } = frame;
  if (typeof hmac !== 'string' || !/^[0-9a-f]{64}$/.test(hmac)) {
    throw new ProtocolError('signature', 'Expected `hmac` to be 64 lowercase hexadecimal digits');
  }
  if (!timingSafeEqual(Buffer.from(hmac), Buffer.from(signer.signObject(frame)))) {
    throw new ProtocolError('signature', 'Expected the signature to be right; check the secret of the project');
  }
  return frame;
}
