import type { AgentFrame, StubHello } from './brain-wire.js';
import { newId, Refusal } from './brain-wire.js';
import type { Misbehaviour, StubBrainOptions, StubCommandOutcome, StubCounts } from './options.js';
import { Projection } from './projection.js';
import { ScheduleStreams } from './schedule-streams.js';

/** A command's row. */
export interface CommandRow {
  readonly id: string;
  readonly action: string;
  readonly target: { readonly [key: string]: unknown };
  readonly parameters: { readonly [key: string]: unknown };
  readonly timeoutSeconds: number;
  readonly claimToken: string | null;
  dispatched: boolean;
  acknowledged: boolean;
  readonly done: (outcome: StubCommandOutcome) => void;
}

/** What the state needs of a connected process. */
export interface Peer {
  readonly hello: StubHello | undefined;
  close(code?: number): void;
  command(row: CommandRow): void;
  /** Signed; false when it cannot be sent. */
  send(type: string, id: string, payload: object): boolean;
  raw(data: string | Uint8Array): void;
}

/** Everything the stub knows, whatever transport it came by. */
export class BrainState {
  readonly agentId = newId();
  readonly projectId = newId();
  readonly token: string;
  readonly secret: Uint8Array;
  readonly heartbeatSeconds: number;
  readonly maxFrameBytes: number;
  readonly maxBodyBytes: number;
  readonly eventsPerSecond: number | undefined;
  readonly brainVersion: string;
  readonly record: boolean;
  behaviour: Misbehaviour;
  readonly projection = new Projection();
  readonly schedules: ScheduleStreams;
  readonly hellos: StubHello[] = [];
  readonly heartbeats: { readonly [key: string]: unknown }[] = [];
  readonly statuses: { readonly [key: string]: unknown }[] = [];
  /** Results in order of arrival, those nobody waits for among them. */
  readonly results: { readonly id: string; readonly payload: AgentFrame['payload'] }[] = [];
  readonly refusals: string[] = [];
  readonly counts: StubCounts = {
    connections: 0,
    frames: 0,
    bytes: 0,
    events: 0,
    accepted: 0,
    rejected: 0,
    largestFrame: 0,
  };
  readonly peers: Peer[] = [];
  readonly rows = new Map<string, CommandRow>();
  #listeners = new Set<() => void>();
  #timers = new Map<NodeJS.Timeout, () => void>();
  #telling = false;

  constructor(options: StubBrainOptions, token: string, secret: Uint8Array) {
    this.token = token;
    this.secret = secret;
    this.heartbeatSeconds = options.heartbeatSeconds ?? 10;
    this.maxFrameBytes = options.maxFrameBytes ?? 1024 * 1024;
    this.maxBodyBytes = options.maxBodyBytes ?? 8192;
    this.eventsPerSecond = options.eventsPerSecond;
    this.brainVersion = options.brainVersion ?? '1.13.0';
    this.schedules = new ScheduleStreams(this.brainVersion);
    this.record = options.record ?? true;
    this.behaviour = options;
  }

  now(): number {
    return Date.now() + (this.behaviour.clockOffsetMs ?? 0);
  }

  /** Resolves after `ms`, or when the stub is closed. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        resolve();
      }, ms);
      this.#timers.set(timer, resolve);
    });
  }

  connected(peer: Peer, hello: StubHello): void {
    for (const twin of this.peers.filter((other) => other.hello?.workerId === hello.workerId)) {
      this.disconnected(twin);
      twin.close(4002);
    }
    this.hellos.push(hello);
    this.joined(peer);
    for (const parameters of this.schedules.connected(peer, hello)) {
      const owner = parameters.scheduler as string;
      this.issue(peer, 'schedule.external.activate', { type: 'scheduler', id: owner, scheduler: owner }, parameters);
    }
  }

  /** A command for one connection and no other; resolves with what became of it. */
  issue(
    peer: Peer,
    action: string,
    target: CommandRow['target'],
    parameters: CommandRow['parameters'],
    timeoutMs = 60_000,
  ): Promise<StubCommandOutcome> {
    const id = newId();
    return new Promise((resolve) => {
      const row: CommandRow = {
        id,
        action,
        target,
        parameters,
        timeoutSeconds: Math.ceil(timeoutMs / 1000),
        claimToken: newId(),
        dispatched: false,
        acknowledged: false,
        done: (outcome) => {
          clearTimeout(timer);
          this.#timers.delete(timer);
          this.rows.delete(id);
          resolve(outcome);
        },
      };
      const late = (): void =>
        row.done({ status: 'timeout', result: null, error: null, acknowledged: row.acknowledged });
      const timer = setTimeout(late, timeoutMs);
      this.#timers.set(timer, late);
      this.rows.set(id, row);
      peer.command(row);
    });
  }

  /** A process is there, with or without a hello. */
  joined(peer: Peer): void {
    this.peers.push(peer);
    this.counts.connections++;
    for (const row of this.rows.values()) if (!row.dispatched) peer.command(row);
    this.tell();
  }

  disconnected(peer: Peer): void {
    this.schedules.disconnected(peer);
    const at = this.peers.indexOf(peer);
    if (at >= 0) this.peers.splice(at, 1);
    this.tell();
  }

  /** `withheld`: a brain does not acknowledge it. */
  batch(frame: AgentFrame, size: number): { received: number; accepted: number; withheld: boolean } {
    const events: readonly unknown[] = Array.isArray(frame.payload.events) ? frame.payload.events : [];
    const { refuseEvent } = this.behaviour;
    if (refuseEvent !== undefined) {
      for (const event of events) {
        const code = refuseEvent(event as { readonly [key: string]: unknown });
        if (code !== undefined) throw new Refusal(code, 'an event of the batch is refused');
      }
    }
    const now = this.now();
    let accepted = 0;
    let withheld = false;
    if (this.record) {
      for (const event of events) {
        const verdict = this.schedules.take(event as { readonly [key: string]: unknown });
        if (verdict === 'unacked') withheld = true;
        const isNew = this.projection.take(event, now);
        accepted += (verdict === undefined ? isNew : verdict === 'accepted') ? 1 : 0;
      }
    } else accepted = events.length;
    const { counts } = this;
    counts.frames++;
    counts.bytes += size;
    counts.events += events.length;
    counts.accepted += accepted;
    counts.rejected += events.length - accepted;
    counts.largestFrame = Math.max(counts.largestFrame, events.length);
    this.tell();
    return { received: events.length, accepted, withheld };
  }

  /** Every signed frame that is not a batch. */
  take({ type, id, payload }: AgentFrame): void {
    const row = this.rows.get(id);
    if (type === 'heartbeat') {
      this.heartbeats.push(payload);
      if (this.record) this.projection.heartbeat(payload, new Date(this.now()));
    } else if (type === 'agent_status') {
      this.statuses.push(payload);
    } else if (type === 'command_ack' && row !== undefined) {
      row.acknowledged = true;
    } else if (type === 'command_result') {
      this.results.push({ id, payload });
      const { status, result = null, error = null } = payload;
      row?.done({
        status: status as 'success' | 'failed',
        result,
        error: error as string | null,
        acknowledged: row.acknowledged,
      });
    }
    this.tell();
  }

  refused(reason: string): void {
    this.refusals.push(reason);
    this.tell();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Once a turn at most: a listener that looks at all events must not make the stub slow. */
  tell(): void {
    if (this.#telling || this.#listeners.size === 0) return;
    this.#telling = true;
    setImmediate(() => {
      this.#telling = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }

  close(): void {
    for (const [timer, resolve] of this.#timers) {
      clearTimeout(timer);
      resolve();
    }
    this.#timers.clear();
    for (const row of this.rows.values()) {
      row.done({ status: 'timeout', result: null, error: 'the stub was closed', acknowledged: row.acknowledged });
    }
  }
}
