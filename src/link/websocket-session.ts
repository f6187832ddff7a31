import { performance } from 'node:perf_hooks';
import { type RawData, WebSocket } from 'ws';
import {
  FrameReader,
  FrameWriter,
  type HelloAck,
  hello,
  type InboundFrame,
  ProtocolError,
  readHelloAck,
  Signer,
} from '../protocol/index.js';
import { FATAL_SKEW_MS } from './advice.js';
import { LinkError } from './errors.js';
import type { AckSummary, LinkSession } from './link-types.js';
import type { NextFrame } from './outflow.js';
import type { Session, SessionContext, SessionEnd } from './session.js';
import { openSocket } from './socket.js';
import { upgrade } from './upgrade.js';
import { PATIENCE_MS } from './window.js';

/** No event frame is begun while more waits in our own buffer: results shall not queue behind events. */
const MAX_BUFFERED = 64 * 1024;
const STALL_MS = 1000;
/** What is left of a process that has nothing to do: our own writes, and its standard streams. */
const IDLE = /Write|Shutdown|^PipeWrap$|^TTYWrap$/;
/** A brain's frames are at most 1 MiB; what is larger is not from a brain. */
const MAX_INBOUND = 4 * 1024 * 1024;

const bytes = (data: RawData): Buffer =>
  Buffer.isBuffer(data) ? data : Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);

interface Waiting {
  readonly resolve: (summary: AckSummary) => void;
  readonly reject: (error: LinkError) => void;
}

/** One WebSocket connection, from the name look-up to its close. */
export class WebSocketSession implements Session {
  readonly transport = 'ws';
  readonly ended: Promise<SessionEnd>;
  readonly #context: SessionContext;
  #end: (end: SessionEnd) => void = () => undefined;
  #over = false;
  #wanted = false;
  #quiet = false;
  #socket: WebSocket | undefined;
  #writer: FrameWriter | undefined;
  #reader: FrameReader | undefined;
  #maxFrameBytes = 0;
  #error: LinkError | undefined;
  #status: number | undefined;
  /** 1: nothing was refused for a while; 2: a signed frame came. */
  #proof = 0;
  #skewMs = 0;
  /** Time of the last message or pong. */
  #heardAt = 0;
  #stall: NodeJS.Timeout | undefined;
  #nudge: NodeJS.Timeout | undefined;
  #silent = false;
  #immediate: NodeJS.Immediate | undefined;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Batches that are not the journal's, by id. */
  readonly #direct = new Map<string, Waiting>();
  #directNumber = 0;

  constructor(context: SessionContext) {
    this.#context = context;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    void this.#open();
  }

  wake(): void {
    if (this.#writer !== undefined && !this.#over) this.#pump();
  }

  ack(commandId: string, claimToken: string | null): void {
    this.#write((writer) =>
      writer.commandAck(commandId, claimToken === null ? {} : { delivery_claim_token: claimToken }),
    ).catch(() => undefined);
  }

  quiesce(): void {
    this.#quiet = true;
  }

  close(timeoutMs: number): void {
    this.#wanted = true;
    const socket = this.#socket;
    if (socket === undefined || socket.readyState !== WebSocket.OPEN) {
      this.#finish(1000);
      return;
    }
    socket.close(1000);
    this.#after(timeoutMs, () => this.#finish(1000));
  }

  async #open(): Promise<void> {
    const { address, token, env, times } = this.#context;
    try {
      const socket = await openSocket(address.websocket, { env, timeoutMs: times.handshake });
      if (this.#over) {
        socket.destroy();
        return;
      }
      const websocket = upgrade(socket, address.websocket, token, MAX_INBOUND);
      this.#socket = websocket;
      this.#listen(websocket);
      const silence = this.#after(times.handshake, () =>
        this.#fail(new LinkError('handshake', `the brain did not answer within ${times.handshake} ms`)),
      );
      websocket.once('message', () => this.#clear(silence));
      websocket.once('open', () => {
        try {
          websocket.send(hello(this.#context.hello()));
        } catch (cause) {
          this.#fail(new LinkError('handshake', `the hello cannot be sent: ${messageOf(cause)}`, { cause }));
        }
      });
    } catch (cause) {
      this.#fail(cause instanceof LinkError ? cause : new LinkError('unreachable', messageOf(cause), { cause }));
    }
  }

  #listen(websocket: WebSocket): void {
    websocket.on('pong', () => {
      this.#heardAt = performance.now();
    });
    websocket.on('message', (data) => {
      if (this.#over) return;
      this.#heardAt = performance.now();
      try {
        this.#receive(bytes(data));
      } catch (cause) {
        this.#fail(new LinkError('lost', `a frame of the brain cannot be trusted: ${messageOf(cause)}`, { cause }));
      }
    });
    websocket.on('unexpected-response', (request, response) => {
      this.#status = response.statusCode;
      request.destroy();
      this.#fail(new LinkError('upgrade', `the upgrade to WebSocket was answered with HTTP ${response.statusCode}`));
    });
    websocket.on('error', (cause) => {
      const code = this.#writer === undefined ? 'upgrade' : 'lost';
      this.#error ??= new LinkError(code, cause.message, { cause });
    });
    websocket.on('close', (code) => this.#finish(code));
  }

  #receive(raw: Buffer): void {
    if (this.#reader === undefined) {
      this.#greeted(readHelloAck(raw));
      return;
    }
    const frame = this.#reader.read(raw);
    this.#prove(true);
    this.#take(frame);
  }

  #greeted({ payload, brainTime }: HelloAck): void {
    const { secret, times, onUp } = this.#context;
    const ids = { agentId: payload.agent_id, projectId: payload.project_id, sessionId: payload.session_id };
    const signer = new Signer(secret, ids);
    this.#maxFrameBytes = payload.max_frame_size_bytes;
    this.#writer = new FrameWriter(signer, { maxBytes: this.#maxFrameBytes });
    this.#reader = new FrameReader(signer);
    this.#after(times.proof, () => this.#proveBySilence());
    this.#after(times.ack / 4, () => this.#checkAcks());
    const skewMs = brainTime === undefined ? undefined : brainTime - Date.now();
    this.#skewMs = skewMs ?? 0;
    const session: LinkSession = {
      transport: 'ws',
      brainVersion: payload.brain_version,
      ...ids,
      clockSkewMs: skewMs,
      sendEvents: (records) => this.#sendEvents(records),
    };
    onUp(session);
    void this.#beats(payload.heartbeat_interval_seconds * 1000);
    this.#pump();
  }

  #take(frame: InboundFrame): void {
    if (frame.type === 'command') {
      this.#context.onCommand(frame);
    } else if (frame.type === 'event_batch_ack') {
      const { acked_id, received, accepted, rejected } = frame.payload;
      const direct = this.#direct.get(acked_id);
      if (direct !== undefined) {
        this.#direct.delete(acked_id);
        direct.resolve({ received, accepted, rejected });
      } else if (!this.#context.outflow.ack(acked_id)) {
        this.#context.onDebug(`an ack for ${acked_id}, which is not in flight, was ignored`);
      }
      this.#context.onChange();
      this.#pump();
    } else if (frame.type === 'error') {
      this.#context.onDebug(`the brain complains: ${frame.payload.code} ${frame.payload.message}`);
    }
  }

  #sendEvents(records: readonly Uint8Array[]): Promise<AckSummary> {
    const id = `sx_${++this.#directNumber}`;
    return new Promise((resolve, reject) => {
      const lost = (cause?: unknown): void =>
        reject(new LinkError('lost', cause === undefined ? 'the connection ended' : messageOf(cause), { cause }));
      if (this.#over || this.#writer === undefined) {
        lost();
        return;
      }
      this.#direct.set(id, { resolve, reject });
      this.#write((writer) => writer.eventBatch(id, records)).catch((cause) => {
        this.#direct.delete(id);
        lost(cause);
      });
    });
  }

  /** First what an operator waits for, then events, one frame a turn: the host's event loop is not ours. */
  #pump(): void {
    const socket = this.#socket;
    if (this.#over || socket === undefined || this.#writer === undefined) return;
    for (const pending of this.#context.outbox.unwritten()) {
      const { id, answer, claimToken } = pending;
      pending.writtenAt = performance.now();
      const token = claimToken === null ? {} : { delivery_claim_token: claimToken };
      const written = (): void => this.#context.onResultWritten(id);
      this.#write((writer) => writer.commandResult(id, { ...answer, ...token })).then(written, (cause) => {
        if (!(cause instanceof ProtocolError)) {
          pending.writtenAt = undefined;
          return;
        }
        const error = `the result cannot be sent: ${cause.message}`;
        this.#write((writer) => writer.commandResult(id, { status: 'failed', result: null, error, ...token })).then(
          written,
          () => undefined,
        );
      });
    }
    if (this.#quiet || this.#immediate !== undefined || socket.bufferedAmount > MAX_BUFFERED) return;
    const { outflow } = this.#context;
    const next = this.#next();
    if (next === undefined) {
      if (outflow.waiting > 0) this.#nudge ??= this.#after(PATIENCE_MS, () => this.#retryPump());
      return;
    }
    this.#write((writer) => writer.eventBatch(next.id, next.records)).catch((cause) => {
      // Refused here as it would be there: halved until it passes.
      if (cause instanceof ProtocolError) this.#finish(4400);
    });
    this.#immediate = setImmediate(() => {
      this.#immediate = undefined;
      this.#pump();
    });
  }

  /** A journal that cannot be read is not a reason to throw into whatever turn this is. */
  #next(): NextFrame | undefined {
    try {
      return this.#context.outflow.next(this.#maxFrameBytes);
    } catch (cause) {
      this.#fail(new LinkError('lost', `the journal cannot be read: ${messageOf(cause)}`, { cause }));
      return undefined;
    }
  }

  #retryPump(): void {
    this.#nudge = undefined;
    this.#pump();
  }

  /** Builds and writes one frame; resolves when the system has taken it. */
  #write(build: (writer: FrameWriter) => Buffer): Promise<void> {
    const socket = this.#socket;
    const writer = this.#writer;
    return new Promise((resolve, reject) => {
      if (this.#over || socket?.readyState !== WebSocket.OPEN || writer === undefined) {
        reject(new LinkError('lost', 'the connection ended'));
        return;
      }
      socket.send(build(writer), (error) => {
        if (error) reject(error);
        else resolve();
        if (this.#over) return;
        this.#context.onChange();
        this.#pump();
      });
      this.#stall ??= this.#after(STALL_MS, () => this.#checkStall(socket, 0));
    });
  }

  async #beats(intervalMs: number): Promise<void> {
    const next = performance.now() + intervalMs;
    try {
      await this.#context.beat((frame) => this.#write(frame), intervalMs);
    } catch (cause) {
      this.#context.onDebug(`a heartbeat was not sent: ${messageOf(cause)}`);
    }
    if (!this.#over) this.#after(Math.max(next - performance.now(), 0), () => void this.#beats(intervalMs));
  }

  #checkAcks(): void {
    const { times, outflow } = this.#context;
    if (outflow.waiting >= times.ack) {
      this.#silent = true;
      this.#fail(new LinkError('lost', `the brain acknowledged nothing for ${Math.round(times.ack / 1000)} s`));
      return;
    }
    // With nothing in flight only a ping tells a connection whose other end is gone.
    if (performance.now() - this.#heardAt > times.ack / 2) {
      this.#fail(new LinkError('lost', 'the brain gives no sign of life'));
      return;
    }
    this.#socket?.ping();
    this.#after(times.ack / 4, () => this.#checkAcks());
  }

  #proveBySilence(): void {
    const { outflow, times } = this.#context;
    if (outflow.unacked === 0) this.#prove(false);
    else if (this.#proof === 0) this.#after(times.proof, () => this.#proveBySilence());
  }

  /** A write the other side does not take keeps a process alive, unref'ed or not: nobody else left, it is given up. */
  #checkStall(socket: WebSocket, before: number): void {
    this.#stall = undefined;
    const now = socket.bufferedAmount;
    if (now === 0) return;
    if (now === before && !process.connected && process.getActiveResourcesInfo().every((name) => IDLE.test(name))) {
      this.#fail(new LinkError('lost', 'the brain does not read'));
      return;
    }
    this.#stall = this.#after(STALL_MS, () => this.#checkStall(socket, now));
  }

  #prove(signed: boolean): void {
    const proof = signed ? 2 : 1;
    if (this.#proof >= proof) return;
    this.#proof = proof;
    this.#context.onProof(signed);
  }

  #fail(error: LinkError): void {
    this.#error ??= error;
    this.#finish(1006);
  }

  #finish(code: number): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    clearImmediate(this.#immediate);
    if (this.#socket !== undefined && this.#socket.readyState !== WebSocket.CLOSED) this.#socket.terminate();
    const lost = new LinkError('lost', 'the connection ended before the brain acknowledged');
    for (const { reject } of this.#direct.values()) reject(lost);
    this.#direct.clear();
    this.#context.outflow.restart(this.#silent ? 'silent' : this.#blame(code));
    this.#end({ code, status: this.#status, error: this.#error, wanted: this.#wanted });
  }

  /** Whether what was in flight may be why. */
  #blame(code: number): 'refused' | 'suspected' | undefined {
    if (this.#writer === undefined) return undefined;
    if (code === 4400 || code === 1009) return 'refused';
    if (code === 1011) return 'suspected';
    // With the right secret and clock, a signature is wrong over a text the brain prints in another way.
    const trusted = this.#context.secretIsRight() && Math.abs(this.#skewMs) < FATAL_SKEW_MS;
    return code === 4403 && trusted ? 'suspected' : undefined;
  }

  #after(ms: number, run: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms).unref();
    this.#timers.add(timer);
    return timer;
  }

  #clear(timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.#timers.delete(timer);
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
