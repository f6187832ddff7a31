import { randomBytes } from 'node:crypto';
import { canonical, canonicalString, wellFormed } from './canonical.js';
import { ProtocolError } from './errors.js';
import { readHelloAckPayload, readHelloPayload, readInbound } from './payload-checks.js';
import type {
  AgentStatusPayload,
  CommandAckPayload,
  CommandResultPayload,
  HeartbeatPayload,
  HelloAck,
  HelloPayload,
  InboundFrame,
} from './payloads.js';
import { ReplayGuard } from './replay.js';
import { readEnvelope, type Signer, type VerifiedFrame, verifyFrame } from './signing.js';
import { parseInstant } from './time.js';

export type * from './payloads.js';

/** Version of the wire protocol, as hello names it. */
export const PROTOCOL_VERSION = '2';

/** What a brain accepts unless its `hello_ack` says otherwise. */
export const DEFAULT_MAX_FRAME_BYTES = 1_048_576;

/** More than any frame has around its records, commas between them not counted. */
export const FRAME_OVERHEAD_BYTES = 1024;

/** A brain drops, and acks, what is beyond the 5000th event of a frame. */
const MAX_RECORDS = 5000;
const MAX_INBOUND_BYTES = 16 * 1_048_576;
const MAX_ERROR_CHARACTERS = 8192;

const NONE = Buffer.alloc(0);
const EVENTS_OPEN = Buffer.from('{"events":[');
const EVENTS_CLOSE = Buffer.from(']}');

export interface FrameWriterOptions {
  /** Frames above it are refused before they are sent; default 1 MiB. */
  readonly maxBytes?: number | undefined;
  /** Milliseconds since the epoch; default the system clock. */
  readonly now?: (() => number) | undefined;
}

function clamp(value: number, max: number): number {
  return Math.min(Math.max(Math.trunc(value) || 0, 0), max);
}

/**
 * Builds the signed frames of one connection: counts `seq` from 1, and stamps `ts` and `nonce` at the call, so what it
 * returns must be sent at once and in order. Throws `ProtocolError` `too_large`, `frame` or `unsignable` without
 * using up a number.
 */
export class FrameWriter {
  readonly #signer: Signer;
  readonly #maxBytes: number;
  readonly #now: () => number;
  #seq = 0;

  constructor(signer: Signer, { maxBytes = DEFAULT_MAX_FRAME_BYTES, now = Date.now }: FrameWriterOptions = {}) {
    this.#signer = signer;
    this.#maxBytes = maxBytes;
    this.#now = now;
  }

  /**
   * A batch of events whose canonical texts are `records` (UTF-8). They are copied, hashed and never read.
   * `id` ≤ 60 characters.
   */
  eventBatch(id: string, records: readonly Uint8Array[]): Buffer {
    if (records.length > MAX_RECORDS) {
      throw new ProtocolError('too_large', `Expected at most ${MAX_RECORDS} events, got ${records.length}`);
    }
    return this.#seal('event_batch', id, EVENTS_OPEN, records, EVENTS_CLOSE);
  }

  /** Counters are held within what a brain accepts. */
  heartbeat(payload: HeartbeatPayload): Buffer {
    return this.frame('heartbeat', this.#nextId('hb'), {
      ...payload,
      buffer_size: clamp(payload.buffer_size, 1e7),
      dropped_events: clamp(payload.dropped_events, 1e7),
    });
  }

  /** Counters are held within what a brain accepts. */
  agentStatus(payload: AgentStatusPayload): Buffer {
    return this.frame('agent_status', this.#nextId('st'), {
      ...payload,
      auth_failure_streak: clamp(payload.auth_failure_streak, 1e6),
      protocol_failure_streak: clamp(payload.protocol_failure_streak, 1e6),
      connection_failure_streak: clamp(payload.connection_failure_streak, 1e6),
      current_session_age_seconds: clamp(payload.current_session_age_seconds, 315_360_000),
      buffer_depth: clamp(payload.buffer_depth, 1e7),
    });
  }

  /** `id` is the command's. */
  commandAck(id: string, payload: CommandAckPayload = {}): Buffer {
    return this.frame('command_ack', id, payload);
  }

  /** `id` is the command's. */
  commandResult(id: string, { status, result, error, delivery_claim_token }: CommandResultPayload): Buffer {
    return this.frame('command_result', id, {
      status,
      result: result ?? null,
      error: error === null ? null : wellFormed(error.slice(0, MAX_ERROR_CHARACTERS)),
      delivery_claim_token,
    });
  }

  /** Any signed frame; also what a stub brain sends with. */
  frame(type: string, id: string, payload: object): Buffer {
    return this.#seal(type, id, NONE, [Buffer.from(canonical(payload))], NONE);
  }

  #nextId(prefix: string): string {
    return `${prefix}_${this.#seq + 1}`;
  }

  /** The payload is `open`, the records joined by commas, `close`. */
  #seal(type: string, id: string, open: Buffer, records: readonly Uint8Array[], close: Buffer): Buffer {
    if (id.length === 0 || id.length > 64) {
      throw new ProtocolError('frame', `Expected \`id\` to have 1 to 64 characters, got ${id.length}`);
    }
    const seq = `,"seq":${this.#seq + 1}`;
    const end = `,"ts":"${new Date(this.#now()).toISOString()}","type":${canonicalString(type)},"v":2`;
    const head = Buffer.from(
      `{"id":${canonicalString(id)},"nonce":"${randomBytes(16).toString('base64url')}","payload":`,
    );
    const tail = `${seq}${end},"hmac":"`;
    const hmacAndBrace = 66;

    let size = head.length + open.length + close.length + Math.max(records.length - 1, 0);
    for (const record of records) size += record.length;
    const payloadEnd = size;
    size += Buffer.byteLength(tail) + hmacAndBrace;
    if (size > this.#maxBytes) {
      throw new ProtocolError('too_large', `Expected a frame of at most ${this.#maxBytes} bytes, got ${size}`);
    }

    const wire = Buffer.allocUnsafe(size);
    wire.set(head, 0);
    let at = head.length;
    wire.set(open, at);
    at += open.length;
    for (let i = 0; i < records.length; i++) {
      const record = records[i] as Uint8Array;
      if (i > 0) wire[at++] = 44;
      wire.set(record, at);
      at += record.length;
    }
    wire.set(close, at);
    const hmac = this.#signer.sign(wire.subarray(1, payloadEnd), seq, end);
    wire.write(`${tail}${hmac}"}`, payloadEnd);
    this.#seq++;
    return wire;
  }
}

export interface FrameReaderOptions {
  readonly now?: (() => number) | undefined;
  /** Larger messages are refused unread; default 16 MiB. */
  readonly maxBytes?: number | undefined;
}

/** Reads the signed frames of one connection. Every failure is a `ProtocolError`: close and connect again. */
export class FrameReader {
  readonly #signer: Signer;
  readonly #now: () => number;
  readonly #maxBytes: number;
  readonly #guard = new ReplayGuard();

  constructor(signer: Signer, { now = Date.now, maxBytes = MAX_INBOUND_BYTES }: FrameReaderOptions = {}) {
    this.#signer = signer;
    this.#now = now;
    this.#maxBytes = maxBytes;
  }

  /** A frame of the brain: text or UTF-8 bytes. */
  read(raw: string | Uint8Array): InboundFrame {
    return readInbound(this.verify(raw));
  }

  /** Signature and freshness only, for any kind of frame; what a stub brain reads with. */
  verify(raw: string | Uint8Array): VerifiedFrame {
    checkSize(raw, this.#maxBytes);
    const frame = verifyFrame(raw, this.#signer);
    this.#guard.accept({ seq: frame.seq, ts: frame.ts, nonce: frame.nonce }, this.#now());
    return frame;
  }
}

function checkSize(raw: string | Uint8Array, maxBytes: number): void {
  if (raw.length > maxBytes) {
    throw new ProtocolError('too_large', `Expected a frame of at most ${maxBytes} bytes, got ${raw.length}`);
  }
}

/** The unsigned first frame. Throws `ProtocolError` `hello` where a brain would close with 4400. */
export function hello(payload: HelloPayload, now: number = Date.now()): Buffer {
  const text = canonical({ v: 2, type: 'hello', id: 'hello', ts: new Date(now).toISOString(), payload });
  readHelloPayload(readEnvelope(text).payload);
  return Buffer.from(text);
}

/** The unsigned answer to `hello`. Throws `ProtocolError`. */
export function readHelloAck(raw: string | Uint8Array): HelloAck {
  checkSize(raw, MAX_INBOUND_BYTES);
  const { type, payload, ts } = readEnvelope(raw);
  if (type !== 'hello_ack') throw new ProtocolError('type', 'Expected the first frame of the brain to be hello_ack');
  const brainTime = typeof ts === 'string' ? parseInstant(ts)?.ms : undefined;
  return { payload: readHelloAckPayload(payload), brainTime };
}

/** A `hello` with the strictness of a brain; what a stub brain reads with. */
export function readHello(raw: string | Uint8Array): { readonly id: string; readonly payload: HelloPayload } {
  checkSize(raw, MAX_INBOUND_BYTES);
  const { type, id, payload } = readEnvelope(raw);
  if (type !== 'hello') throw new ProtocolError('type', 'Expected the first frame to be hello');
  return { id, payload: readHelloPayload(payload) };
}
