import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { FrameReader, FrameWriter, ProtocolError, Signer } from '../protocol/index.js';
import { LinkError } from './errors.js';
import { HttpClient, type HttpResponse } from './http.js';
import type { AckSummary } from './link-types.js';
import type { PendingResult } from './outbox.js';
import type { Session, SessionContext, SessionEnd } from './session.js';
import type { UploadLimit } from './upload-limit.js';

const MAX_FRAME = 1024 * 1024;
/** JSON text inside a JSON text: each quote costs a byte more. */
const ESCAPED = 0.75;
/** Envelope and wrapper. */
const AROUND = 400;
const POLL_FRAMES = 50;
/** Between uploads of events; a brain allows 600 requests a minute to all processes of one address. */
const PACE_MS = 200;
const RETRY_AFTER_MS = 5000;
/** Whatever a brain says: ten requests a second are all it takes from an address. */
const MIN_RETRY_AFTER_MS = 500;

interface Control {
  readonly build: (writer: FrameWriter) => Buffer;
  readonly resolve: () => void;
  readonly reject: (cause: unknown) => void;
}

/** A session over HTTP, for networks that do not pass WebSocket (protocol.md §8). */
export class LongPollSession implements Session {
  readonly transport = 'longpoll';
  readonly ended: Promise<SessionEnd>;
  readonly #context: SessionContext;
  readonly #limit: UploadLimit;
  readonly #http: HttpClient;
  readonly #nonce = randomBytes(16).toString('base64url');
  #end: (end: SessionEnd) => void = () => undefined;
  #over = false;
  #wanted = false;
  #quiet = false;
  /** Some upload was taken: the secret is right. */
  #trusted = false;
  #writer: FrameWriter | undefined;
  #reader: FrameReader | undefined;
  readonly #control: Control[] = [];
  #awake: (() => void) | undefined;
  readonly #timers = new Set<NodeJS.Timeout>();
  #directNumber = 0;

  constructor(context: SessionContext, limit: UploadLimit) {
    this.#context = context;
    this.#limit = limit;
    this.#http = new HttpClient(context.address.api, context.env, context.times.handshake);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    void this.#guarded(() => this.#run());
  }

  wake(): void {
    this.#awake?.();
  }

  ack(commandId: string, claimToken: string | null): void {
    const token = claimToken === null ? {} : { delivery_claim_token: claimToken };
    this.#write((writer) => writer.commandAck(commandId, token)).catch(() => undefined);
  }

  quiesce(): void {
    this.#quiet = true;
  }

  close(): void {
    this.#wanted = true;
    this.#finish({ code: 1000 });
  }

  async #run(): Promise<void> {
    const { address, secret, times } = this.#context;
    const probe = await this.#request('GET', 'commands?wait=0&max_frames=0', times.handshake);
    const agentId = probe.headers['x-z4j-agent-id'];
    const projectId = probe.headers['x-z4j-project-id'];
    if (typeof agentId !== 'string' || typeof projectId !== 'string') {
      throw new LinkError('handshake', `${address.shown} does not answer like a brain of version 1.7 or later`);
    }
    const ids = { agentId, projectId, sessionId: this.#nonce };
    const signer = new Signer(secret, ids);
    this.#writer = new FrameWriter(signer, { maxBytes: MAX_FRAME });
    this.#reader = new FrameReader(signer);
    const date = Date.parse(String(probe.headers.date));
    // The header has whole seconds.
    const skew = date + 500 - Date.now();
    this.#context.onUp({
      transport: 'longpoll',
      brainVersion: '',
      ...ids,
      clockSkewMs: Number.isNaN(skew) ? undefined : skew,
      sendEvents: (records) => this.#sendEvents(records),
    });
    void this.#beats();
    void this.#guarded(() => this.#poll());
    await this.#upload();
  }

  /** Ends the session with the reason of whatever is thrown. */
  async #guarded(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (cause) {
      if (cause instanceof Ended) this.#finish(cause.end);
      else this.#finish({ code: 1006, error: asLinkError(cause) });
    }
  }

  async #upload(): Promise<void> {
    const { outflow, outbox, onChange } = this.#context;
    while (!this.#over) {
      const results = outbox.unwritten();
      if (this.#control.length > 0 || results.length > 0) {
        await this.#uploadControl(this.#control.splice(0), results);
        onChange();
        continue;
      }
      const next = this.#quiet
        ? undefined
        : outflow.next(MAX_FRAME, Math.max(Math.floor(this.#limit.size * ESCAPED) - AROUND, 1));
      if (next === undefined) {
        await new Promise<void>((resolve) => {
          this.#awake = resolve;
        });
        this.#awake = undefined;
        continue;
      }
      const { bytes, answer } = await this.#post((writer) => [writer.eventBatch(next.id, next.records)]);
      if (answer.status === 413) {
        this.#limit.refused(bytes);
        outflow.restart(next.records.length === 1 ? 'refused' : undefined);
      } else if (accepted(answer) > 0) {
        this.#limit.taken(bytes);
        outflow.ack(next.id);
      } else {
        outflow.restart();
        await this.#sleep(RETRY_AFTER_MS / 5);
      }
      onChange();
      if (!outflow.empty) await this.#sleep(PACE_MS);
    }
  }

  /** Heartbeats, acks and results, which are small. */
  async #uploadControl(control: readonly Control[], results: readonly PendingResult[]): Promise<void> {
    for (const { build, resolve, reject } of control) {
      try {
        const { answer } = await this.#post((writer) => [build(writer)]);
        if (answer.status === 413) throw new LinkError('lost', 'the frame is larger than the brain takes over HTTP');
        resolve();
      } catch (cause) {
        reject(cause);
        if (!(cause instanceof ProtocolError || cause instanceof LinkError)) throw cause;
      }
    }
    for (const pending of results) {
      const { id, answer, claimToken } = pending;
      const token = claimToken === null ? {} : { delivery_claim_token: claimToken };
      const failed = (error: string) => (writer: FrameWriter) =>
        writer.commandResult(id, { status: 'failed', result: null, error, ...token });
      try {
        const sent = await this.#post((writer) => [writer.commandResult(id, { ...answer, ...token })]);
        if (sent.answer.status === 413) {
          await this.#post((writer) => [
            failed('the result is larger than the brain takes over HTTP (Z4J_MAX_PAYLOAD_SIZE_BYTES)')(writer),
          ]);
        } else if (accepted(sent.answer) === 0) {
          continue;
        }
      } catch (cause) {
        if (!(cause instanceof ProtocolError)) throw cause;
        await this.#post((writer) => [failed(`the result cannot be sent: ${cause.message}`)(writer)]);
      }
      pending.writtenAt = performance.now();
      this.#context.onResultWritten(id);
    }
  }

  /** Signed at the call: what is sent later than a minute is refused. Waits and tries again after 429. */
  async #post(build: (writer: FrameWriter) => Buffer[]): Promise<{ bytes: number; answer: HttpResponse }> {
    for (;;) {
      const writer = this.#writer as FrameWriter;
      const body = Buffer.from(JSON.stringify({ frames: build(writer).map((frame) => frame.toString('utf8')) }));
      const answer = await this.#request('POST', 'events', this.#context.times.ack, body);
      if (answer.status !== 429) {
        if (answer.status === 200 && accepted(answer) > 0) this.#trust();
        return { bytes: body.length, answer };
      }
      await this.#sleep(retryAfter(answer) ?? RETRY_AFTER_MS);
      if (this.#over) throw new LinkError('lost', 'the session ended');
    }
  }

  async #poll(): Promise<void> {
    const { times } = this.#context;
    const wait = Math.min(Math.max(Math.round(times.poll / 1000), 0), 60);
    while (!this.#over) {
      const path = `commands?wait=${wait}&max_frames=${POLL_FRAMES}`;
      const answer = await this.#request('GET', path, times.poll + times.handshake);
      if (answer.status === 429) {
        await this.#sleep(retryAfter(answer) ?? RETRY_AFTER_MS);
        continue;
      }
      this.#context.onProof(false);
      const { frames } = JSON.parse(answer.body) as { frames?: unknown };
      if (!Array.isArray(frames)) throw new LinkError('lost', 'the brain answered with something else than frames');
      for (const text of frames) {
        const frame = (this.#reader as FrameReader).read(String(text));
        if (frame.type === 'command') this.#context.onCommand(frame);
      }
      if (wait === 0) await this.#sleep(PACE_MS);
    }
  }

  /** Resolves with 200, 413 and 429; every other answer is the end of the session. */
  async #request(method: 'GET' | 'POST', path: string, timeoutMs: number, body?: Buffer): Promise<HttpResponse> {
    const { address, token, retryContracts } = this.#context;
    const answer = await this.#http.send({
      method,
      url: new URL(`${address.api.href}/${path}`),
      headers: {
        authorization: `Bearer ${token}`,
        'x-z4j-session-nonce': this.#nonce,
        ...(method === 'GET' ? { 'x-z4j-retry-contracts': retryContracts() } : { 'content-type': 'application/json' }),
      },
      timeoutMs,
      ...(body === undefined ? {} : { body }),
    });
    const { status } = answer;
    if (status === 200 || status === 413 || (status === 429 && this.#writer !== undefined)) return answer;
    const retryAfterMs = retryAfter(answer);
    if (status === 401) throw new Ended({ code: 4401 });
    if (status === 403) throw new Ended({ code: 4003 });
    // As 4403: a signature was refused. One that was right before has only met a brain that forgot us.
    if (status === 409) throw new Ended(this.#trusted ? { code: 1012 } : { code: 4403 });
    if (status === 429) throw new Ended({ code: 4429, retryAfterMs });
    if (status === 503) throw new Ended({ code: 1012, retryAfterMs });
    throw new LinkError('lost', `${address.shown} answered HTTP ${status} to a long-poll request`);
  }

  async #sendEvents(records: readonly Uint8Array[]): Promise<AckSummary> {
    const id = `sx_${++this.#directNumber}`;
    await this.#write((writer) => writer.eventBatch(id, records));
    return { received: records.length, accepted: records.length, rejected: 0 };
  }

  #write(build: (writer: FrameWriter) => Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#over || this.#writer === undefined) {
        reject(new LinkError('lost', 'the connection ended'));
        return;
      }
      this.#control.push({ build, resolve, reject });
      this.wake();
    });
  }

  async #beats(): Promise<void> {
    const interval = this.#context.times.heartbeat;
    const next = performance.now() + interval;
    try {
      await this.#context.beat((build) => this.#write(build), interval);
    } catch (cause) {
      this.#context.onDebug(`a heartbeat was not sent: ${String(cause)}`);
    }
    await this.#sleep(Math.max(next - performance.now(), 0));
    if (!this.#over) void this.#beats();
  }

  #trust(): void {
    if (this.#trusted) return;
    this.#trusted = true;
    this.#context.onProof(true);
  }

  /** Resolves early at the end of the session. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#over) {
        resolve();
        return;
      }
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        resolve();
      }, ms).unref();
      this.#timers.add(timer);
    });
  }

  #finish(end: Omit<SessionEnd, 'wanted'>): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#http.close();
    const lost = new LinkError('lost', 'the session ended');
    for (const { reject } of this.#control.splice(0)) reject(lost);
    this.#context.outflow.restart();
    this.#end({ ...end, wanted: this.#wanted });
    this.#awake?.();
  }
}

/** Ends a session with a code of the table. */
class Ended extends Error {
  override readonly name = 'Ended';
  readonly end: Omit<SessionEnd, 'wanted'>;
  constructor(end: Omit<SessionEnd, 'wanted'>) {
    super(`code ${end.code}`);
    this.end = end;
  }
}

/** Frames that need not be sent again. */
function accepted({ status, body }: HttpResponse): number {
  if (status !== 200) return 0;
  try {
    const { accepted: frames } = JSON.parse(body) as { accepted?: unknown };
    return typeof frames === 'number' ? frames : 0;
  } catch {
    return 0;
  }
}

/** Milliseconds of a Retry-After in seconds: half a second to five minutes. */
function retryAfter({ headers }: HttpResponse): number | undefined {
  const seconds = Number(headers['retry-after'] ?? Number.NaN);
  return seconds >= 0 ? Math.max(Math.min(seconds, 300) * 1000, MIN_RETRY_AFTER_MS) : undefined;
}

function asLinkError(cause: unknown): LinkError {
  if (cause instanceof LinkError) return cause;
  return new LinkError('lost', cause instanceof Error ? cause.message : String(cause), { cause });
}
