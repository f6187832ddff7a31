import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { BrainWire, Refusal } from './brain-wire.js';
import type { BrainState, CommandRow, Peer } from './state.js';

/** Actions that need a contract of the engine (protocol.md §8). */
const CONTRACTED = new Set(['retry_task', 'bulk_retry']);

const GONE_MS = 1000;

/** One session nonce. */
class LongPollPeer implements Peer {
  readonly hello = undefined;
  readonly wire: BrainWire;
  invalid = false;
  contracts = '';
  /** Counted, to know whether another one followed. */
  polls = 0;
  readonly #queue: CommandRow[] = [];
  #arrived: (() => void) | undefined;

  constructor(wire: BrainWire) {
    this.wire = wire;
  }

  close(): void {
    this.invalid = true;
    this.#arrived?.();
  }

  raw(): void {}

  send(): boolean {
    return false;
  }

  command(row: CommandRow): void {
    if (!this.#queue.includes(row)) this.#queue.push(row);
    this.#arrived?.();
  }

  /** Commands that may be delivered, as wire text. */
  take(max: number): string[] {
    const texts: string[] = [];
    for (const row of [...this.#queue]) {
      if (texts.length === max) break;
      const engine = String(row.parameters.engine ?? row.target.engine ?? '');
      if (CONTRACTED.has(row.action) && !this.contracts.split(',').includes(`${engine}=1`)) continue;
      this.#queue.splice(this.#queue.indexOf(row), 1);
      row.dispatched = true;
      texts.push(this.wire.write('command', row.id, commandPayload(row)).toString('utf8'));
    }
    return texts;
  }

  /** Resolves when a command comes, the session ends or the time is over. */
  arrival(pause: Promise<void>): Promise<void> {
    return Promise.race([
      pause,
      new Promise<void>((resolve) => {
        this.#arrived = resolve;
      }),
    ]);
  }
}

export function commandPayload({ action, target, parameters, timeoutSeconds, claimToken }: CommandRow): object {
  return {
    action,
    target,
    parameters,
    timeout_seconds: timeoutSeconds,
    issued_by: null,
    delivery_claim_token: claimToken,
  };
}

class HttpRefusal extends Error {
  override readonly name = 'HttpRefusal';
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The HTTP interface for agents that cannot use WebSocket. */
export class LongPollServer {
  readonly #state: BrainState;
  readonly #base: string;
  readonly #peers = new Map<string, LongPollPeer>();

  constructor(state: BrainState, prefix: string) {
    this.#state = state;
    this.#base = `${prefix}/api/v1/agent/`;
  }

  /** Answers every request, 404 for what is not the agent interface. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const state = this.#state;
    response.setHeader('content-type', 'application/json');
    response.setHeader('date', new Date(state.now()).toUTCString());
    try {
      const answer = await this.#answer(request, response);
      response.end(JSON.stringify(answer));
    } catch (cause) {
      const status = cause instanceof HttpRefusal ? cause.status : 500;
      state.refused(`HTTP ${status}: ${cause instanceof Error ? cause.message : String(cause)}`);
      response.statusCode = status;
      response.setHeader('connection', 'close');
      response.end(JSON.stringify({ error: String(cause) }));
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<object> {
    const state = this.#state;
    const { httpStatus, retryAfter } = state.behaviour;
    if (httpStatus !== undefined) {
      if (retryAfter !== undefined) response.setHeader('retry-after', retryAfter);
      throw new HttpRefusal(httpStatus, 'as told');
    }
    const url = new URL(request.url ?? '/', 'http://stub');
    if (!url.pathname.startsWith(this.#base)) throw new HttpRefusal(404, url.pathname);
    const given = Buffer.from(request.headers.authorization ?? '');
    const wanted = Buffer.from(`Bearer ${state.token}`);
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) throw new HttpRefusal(401, 'token');
    const nonce = request.headers['x-z4j-session-nonce'];
    if (typeof nonce !== 'string' || nonce === '') throw new HttpRefusal(422, 'X-Z4J-Session-Nonce is missing');
    response.setHeader('x-z4j-agent-id', state.agentId);
    response.setHeader('x-z4j-project-id', state.projectId);
    const peer = this.#peer(nonce);
    if (peer.invalid) throw new HttpRefusal(409, 'session invalidated');
    const name = url.pathname.slice(this.#base.length);
    if (request.method === 'GET' && name === 'commands') return this.#commands(peer, url, request);
    if (request.method === 'POST' && name === 'events') return this.#events(peer, await this.#body(request));
    throw new HttpRefusal(404, name);
  }

  #peer(nonce: string): LongPollPeer {
    const state = this.#state;
    let peer = this.#peers.get(nonce);
    if (peer === undefined) {
      const ids = { agentId: state.agentId, projectId: state.projectId, sessionId: nonce };
      peer = new LongPollPeer(new BrainWire(state.secret, ids, () => state.now()));
      this.#peers.set(nonce, peer);
      state.joined(peer);
    }
    return peer;
  }

  async #commands(peer: LongPollPeer, url: URL, request: IncomingMessage): Promise<object> {
    const number = (name: string, fallback: number, max: number): number => {
      const value = Number(url.searchParams.get(name) ?? fallback);
      if (!(value >= 0 && value <= max)) throw new HttpRefusal(422, name);
      return value;
    };
    const wait = number('wait', 30, 60);
    const max = number('max_frames', 50, 500);
    peer.contracts = String(request.headers['x-z4j-retry-contracts'] ?? '');
    const poll = ++peer.polls;
    if (!this.#state.peers.includes(peer)) this.#state.joined(peer);
    request.once('close', () => void this.#leave(peer, poll));
    let frames = peer.take(max);
    if (frames.length === 0 && wait > 0 && max > 0) {
      const gone = new Promise<void>((resolve) => request.once('close', () => resolve()));
      await peer.arrival(Promise.race([gone, this.#state.pause(wait * 1000)]));
      frames = peer.take(max);
    }
    if (peer.invalid) throw new HttpRefusal(409, 'session invalidated');
    return { frames };
  }

  /** Nobody says goodbye here: who does not poll again soon is gone. */
  async #leave(peer: LongPollPeer, poll: number): Promise<void> {
    await this.#state.pause(GONE_MS);
    if (peer.polls === poll) this.#state.disconnected(peer);
  }

  async #body(request: IncomingMessage): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size <= this.#state.maxBodyBytes) chunks.push(chunk);
    }
    if (size > this.#state.maxBodyBytes) throw new HttpRefusal(413, 'payload_too_large');
    return Buffer.concat(chunks);
  }

  #events(peer: LongPollPeer, body: Buffer): object {
    const { frames } = JSON.parse(body.toString('utf8')) as { frames?: unknown };
    if (!Array.isArray(frames) || frames.length < 1 || frames.length > 500) throw new HttpRefusal(422, 'frames');
    const state = this.#state;
    const max = state.behaviour.acceptFrames ?? frames.length;
    for (const text of frames.slice(0, max)) {
      const raw = Buffer.from(String(text));
      try {
        const frame = peer.wire.read(raw);
        if (frame.type === 'event_batch') state.batch(frame, raw.length);
        else state.take(frame);
      } catch (cause) {
        if (!(cause instanceof Refusal)) throw cause;
        state.refused(`${cause.code}: ${cause.message}`);
        if (cause.code !== 4403) continue;
        peer.invalid = true;
        state.disconnected(peer);
        throw new HttpRefusal(409, 'session invalidated');
      }
    }
    const accepted = Math.min(max, frames.length);
    return { accepted, rejected: frames.length - accepted, errors: [], error_code: null };
  }
}
