import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { newId, type StubHello } from './brain-wire.js';
import { Connection } from './connection.js';
import { LongPollServer } from './longpoll.js';
import type {
  Misbehaviour,
  StubAgent,
  StubBrainOptions,
  StubCommand,
  StubCommandOutcome,
  StubCounts,
  StubOperation,
  StubOperationOutcome,
} from './options.js';
import type { StubEvent, StubTask, StubWorker } from './projection.js';
import type { StubSchedule } from './schedule-streams.js';
import { BrainState, type CommandRow, type Peer } from './state.js';

/** What `waitFor` compares an event with: every given field must be equal; `data` field by field. */
export type EventPattern = {
  readonly [K in keyof StubEvent]?: K extends 'data' ? { readonly [key: string]: unknown } : StubEvent[K];
};

function matches(event: StubEvent, pattern: EventPattern): boolean {
  const { data, ...rest } = pattern;
  const same = (a: unknown, b: unknown): boolean => a === b || JSON.stringify(a) === JSON.stringify(b);
  return (
    Object.entries(rest).every(([key, value]) => same(event[key as keyof StubEvent], value)) &&
    Object.entries(data ?? {}).every(([key, value]) => same(event.data[key], value))
  );
}

/** The time of a wait was over: the message lists what was there instead. */
export class StubTimeoutError extends Error {
  override readonly name = 'StubTimeoutError';
  readonly code = 'timeout';
}

/**
 * A brain for tests: a real WebSocket and HTTP server on 127.0.0.1 that speaks the z4j protocol, checks signatures,
 * sequence, clock and sizes like a brain and keeps in memory what agents report.
 *
 * ```ts
 * await using brain = await stubBrain();
 * // start the code under test with brain.env in its environment, then:
 * const event = await brain.waitFor({ eventType: 'task_succeeded' });
 * ```
 */
export class StubBrain {
  /** Base address, `http://127.0.0.1:<port>`. */
  readonly url: string;
  /** `Z4J_BRAIN_URL`, `Z4J_TOKEN`, `Z4J_HMAC_SECRET`, `Z4J_PROJECT_ID`: spread it into a child's environment. */
  readonly env: { readonly [name: string]: string };
  readonly token: string;
  readonly secret: Buffer;
  readonly #state: BrainState;
  readonly #shutdown: () => Promise<void>;
  #closed: Promise<void> | undefined;

  /** Use `stubBrain()`. */
  constructor(url: string, state: BrainState, shutdown: () => Promise<void>) {
    this.url = url;
    this.token = state.token;
    this.secret = Buffer.from(state.secret);
    this.env = {
      Z4J_BRAIN_URL: url,
      Z4J_TOKEN: state.token,
      Z4J_HMAC_SECRET: this.secret.toString('base64url'),
      Z4J_PROJECT_ID: 'default',
    };
    this.#state = state;
    this.#shutdown = shutdown;
  }

  /** Accepted events in order of arrival, duplicates left out. */
  get events(): readonly StubEvent[] {
    return this.#state.projection.events;
  }

  /** Every hello, oldest first. */
  get hellos(): readonly StubHello[] {
    return this.#state.hellos;
  }

  /** Payloads of all heartbeats, oldest first. */
  get heartbeats(): readonly { readonly [key: string]: unknown }[] {
    return this.#state.heartbeats;
  }

  /** Payloads of all `agent_status` frames, oldest first. */
  get statuses(): readonly { readonly [key: string]: unknown }[] {
    return this.#state.statuses;
  }

  /** Every `command_result` in order of arrival, repeated ones too. */
  get results(): readonly { readonly id: string; readonly payload: { readonly [key: string]: unknown } }[] {
    return this.#state.results;
  }

  /** Why connections were closed by the stub: `4403: wrong signature`. */
  get refusals(): readonly string[] {
    return this.#state.refusals;
  }

  get counts(): Readonly<StubCounts> {
    return this.#state.counts;
  }

  /** Connected processes. */
  get connections(): number {
    return this.#state.peers.length;
  }

  /** The one agent all processes belong to. */
  get agents(): readonly StubAgent[] {
    const { agentId, peers, hellos } = this.#state;
    return [{ id: agentId, state: peers.length > 0 ? 'online' : 'offline', hello: hellos.at(-1) }];
  }

  /** Rows as a brain's Tasks page has them. */
  tasks(): readonly StubTask[] {
    return this.#state.projection.tasks();
  }

  /** The row of one task. */
  task(taskId: string): StubTask | undefined {
    return this.tasks().find((task) => task.taskId === taskId);
  }

  workers(): readonly StubWorker[] {
    return this.#state.projection.workers();
  }

  queues(): readonly string[] {
    return [...this.#state.projection.queues];
  }

  /** Rows of the schedules that agents own, of all of them or of one scheduler. */
  schedules(scheduler?: string): readonly StubSchedule[] {
    return this.#state.schedules.rows(scheduler);
  }

  /**
   * What an operator does on the Schedules page. Resolves with `error` undefined when a brain would believe the
   * answer. Throws like a brain's 409 when no process publishes the scheduler's rows, 404 when it has no such row.
   */
  async operate({ scheduler, operation, schedule, definition = {} }: StubOperation): Promise<StubOperationOutcome> {
    const { schedules } = this.#state;
    const { action, parameters } = schedules.command(scheduler, operation, schedule ?? null, definition);
    const target = { type: 'scheduler', id: scheduler, scheduler };
    const outcome = await this.#state.issue(schedules.executor(scheduler) as Peer, action, target, parameters);
    return { result: outcome.result, error: schedules.doubt(parameters, outcome) };
  }

  /**
   * The first event that is like `wanted`: fields to be equal, or a predicate. Events that are there already count.
   * Rejects with `StubTimeoutError` after `timeoutMs` (default 5000).
   */
  async waitFor(wanted: EventPattern | ((event: StubEvent) => boolean), timeoutMs = 5000): Promise<StubEvent> {
    const test = typeof wanted === 'function' ? wanted : (event: StubEvent) => matches(event, wanted);
    let looked = 0;
    let found: StubEvent | undefined;
    await this.until(() => {
      const { events } = this;
      while (found === undefined && looked < events.length) {
        const event = events[looked++] as StubEvent;
        if (test(event)) found = event;
      }
      return found !== undefined;
    }, timeoutMs);
    return found as unknown as StubEvent;
  }

  /** Waits until something that the stub can see is so: `await brain.until(() => brain.tasks().length === 3)`. */
  until(condition: () => boolean, timeoutMs = 5000): Promise<void> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      let stop = (): void => undefined;
      const check = (): void => {
        try {
          if (!condition()) return;
          resolve();
        } catch (cause) {
          reject(cause);
        }
        clearTimeout(timer);
        stop();
      };
      stop = this.#state.onChange(check);
      timer = setTimeout(() => {
        stop();
        const last = this.events.slice(-10).map(({ kind, taskId }) => `${kind} ${taskId}`.trim());
        reject(
          new StubTimeoutError(
            `Expected the condition within ${timeoutMs} ms; ${this.events.length} events came` +
              `${last.length > 0 ? `, the last: ${last.join(', ')}` : ''}; ${this.hellos.length} hellos` +
              `${this.refusals.length > 0 ? `; refused: ${this.refusals.slice(-3).join(', ')}` : ''}`,
          ),
        );
      }, timeoutMs);
      check();
    });
  }

  /**
   * Sends a command to the first connected process, or to the next one that connects. Resolves with its result, or
   * with status `timeout` after `timeoutMs` (default 10 000).
   */
  command(command: StubCommand, { timeoutMs = 10_000 }: { timeoutMs?: number } = {}): Promise<StubCommandOutcome> {
    const { rows, peers } = this.#state;
    return new Promise((resolve) => {
      const id = newId();
      const done = (outcome: StubCommandOutcome): void => {
        clearTimeout(timer);
        rows.delete(id);
        resolve(outcome);
      };
      const row: CommandRow = {
        id,
        action: command.action,
        target: command.target ?? { type: 'agent', id: null },
        parameters: command.parameters ?? {},
        timeoutSeconds: Math.ceil(timeoutMs / 1000),
        claimToken: command.delivery_claim_token ?? null,
        dispatched: false,
        acknowledged: false,
        done,
      };
      const timer = setTimeout(
        () => done({ status: 'timeout', result: null, error: null, acknowledged: row.acknowledged }),
        timeoutMs,
      );
      rows.set(id, row);
      peers[0]?.command(row);
    });
  }

  /** Changes how the stub misbehaves; `{ noAck: false }` ends one thing, the others stay. */
  misbehave(change: Misbehaviour): void {
    this.#state.behaviour = { ...this.#state.behaviour, ...change };
  }

  /** Closes every connection with a code (protocol.md §1). */
  disconnect(code: number): void {
    for (const peer of [...this.#state.peers]) peer.close(code);
  }

  /** Cuts every connection without a closing handshake. */
  drop(): void {
    for (const peer of [...this.#state.peers]) peer.close();
  }

  /** Sends a signed frame of any kind to every connected process. */
  send(type: string, payload: object, id: string = newId()): void {
    for (const peer of this.#state.peers) peer.send(type, id, payload);
  }

  /** Sends raw text or bytes to every connected process. */
  sendRaw(data: string | Uint8Array): void {
    for (const peer of this.#state.peers) peer.raw(data);
  }

  /** Ends all connections and the server. */
  close(): Promise<void> {
    this.#closed ??= this.#shutdown();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Whether the bearer token of a request is the agent's. */
function authorized(request: IncomingMessage, token: string): boolean {
  const given = Buffer.from(request.headers.authorization ?? '');
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** Starts a stub brain on 127.0.0.1. Rejects with the error of the server, such as `EADDRINUSE`. */
export async function stubBrain(options: StubBrainOptions = {}): Promise<StubBrain> {
  const { port = 0, prefix = '', token = randomBytes(32).toString('base64url'), secret = randomBytes(32) } = options;
  const state = new BrainState(options, token, secret);
  const sockets = new Set<Duplex>();
  const longpoll = new LongPollServer(state, prefix);
  const server = createServer((request, response) => void longpoll.handle(request, response));
  // Larger than any frame a brain takes: a frame that is too large is answered with 4400, not by the library's 1009.
  const websockets = new WebSocketServer({ noServer: true, maxPayload: 64 * 1024 * 1024, perMessageDeflate: false });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('upgrade', (request, socket, head) => {
    const { refuseUpgrade, closeWith } = state.behaviour;
    if (refuseUpgrade !== undefined || request.url !== `${prefix}/ws/agent`) {
      socket.end(`HTTP/1.1 ${refuseUpgrade ?? 404} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    websockets.handleUpgrade(request, socket, head, (websocket) => {
      // As a brain does it: the upgrade succeeds, the code follows.
      const code = closeWith ?? (authorized(request, token) ? undefined : 4401);
      if (code === undefined) {
        new Connection(websocket, state);
        return;
      }
      websocket.on('error', () => websocket.terminate());
      websocket.close(code);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const address = server.address() as AddressInfo;
  return new StubBrain(`http://127.0.0.1:${address.port}${prefix}`, state, async () => {
    state.close();
    for (const websocket of websockets.clients) websocket.terminate();
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
}
