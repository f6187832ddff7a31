import { Worker } from 'node:worker_threads';
import { Flow, type FlowOptions } from '../flow/flow.js';
import type { LendableJournal } from '../journal/durable.js';
import {
  type AckSummary,
  type CommandAnswer,
  Link,
  type LinkOptions,
  type LinkPort,
  type LinkSession,
  type LinkStats,
  type PortCommand,
  type Reply,
} from '../link/index.js';
import { quietly } from '../quiet.js';
import { ENTRY } from './entry.js';
import {
  claim,
  type HostMessage,
  Liveness,
  type NumberedHello,
  type SessionFacts,
  STAMP_MS,
  type ThreadData,
  type ThreadMessage,
} from './messages.js';

export interface ThreadLinkOptions extends Omit<LinkOptions, 'journal' | 'onCommand' | 'selection'> {
  readonly journal: LendableJournal;
  readonly onCommand: (command: PortCommand, reply: Reply) => void;
  /** Missing: everything is sent. */
  readonly flow?: Pick<FlowOptions, 'share' | 'onWatch'> | undefined;
}

/** For which an engine may be asked for its figures, in milliseconds. */
const FIGURES_MS = 5000;
/** What the thread may take to end beyond the time it was given, in milliseconds. */
const END_MS = 300;

const IDLE: LinkStats = {
  state: 'idle',
  transport: undefined,
  connectedAt: undefined,
  lastConnectedAt: undefined,
  lastAckAt: undefined,
  authFailures: 0,
  protocolFailures: 0,
  connectionFailures: 0,
  unacked: 0,
  rate: undefined,
  givenUp: 0,
  leftOut: 0,
  share: 1,
  clockSkewMs: undefined,
};

interface Call {
  resolve(value: unknown): void;
  reject(cause: Error): void;
}

/** What the thread sees of the environment: proxies and certificates; no secrets, and nobody's preloads. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => name !== 'NODE_OPTIONS' && !name.startsWith('Z4J_')),
  );
}

/**
 * The link of an agent whose host may stand still: runs in a worker thread that reads the journal, signs, sends, beats,
 * and answers commands the host does not take in time. A thread that dies is started again once; then, or where none
 * can be started, the link runs in this thread. Never keeps the process alive, except during `flush` and `stop`.
 */
export class ThreadLink implements LinkPort {
  readonly #options: ThreadLinkOptions;
  readonly #liveness = new Liveness();
  readonly #calls = new Map<number, Call>();
  #lastCall = 0;
  #stats = IDLE;
  #hello: NumberedHello | undefined;
  #helloText = '';
  #worker: Worker | undefined;
  /** Has said something: it can run. */
  #ran = false;
  #restarted = false;
  /** Instead of the thread. */
  #local: Link | undefined;
  #session: LinkSession | undefined;
  #stamps: NodeJS.Timeout | undefined;
  #beating = false;
  /** For the selection in the thread, at the end of this turn. */
  #notes: number[] = [];
  #stopped: Promise<void> | undefined;

  constructor(options: ThreadLinkOptions) {
    this.#options = options;
  }

  get stats(): LinkStats {
    return this.#local?.stats ?? this.#stats;
  }

  start(): void {
    if (this.#stamps !== undefined || this.#stopped !== undefined) return;
    this.#liveness.stamp();
    this.#stamps = setInterval(() => this.#liveness.stamp(), STAMP_MS).unref();
    this.#spawn();
  }

  async flush(timeoutMs: number): Promise<boolean> {
    const { journal } = this.#options;
    journal.flush();
    if (this.#local !== undefined) return this.#local.flush(timeoutMs);
    // Keeps the process alive, too.
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs + END_MS);
    });
    const asked = this.#call((call) => ({ type: 'flush', call, timeoutMs, end: journal.end }));
    const done = await Promise.race([asked.catch(() => false), late]);
    clearTimeout(timer);
    return done === true;
  }

  stop({ timeoutMs = 2000 }: { timeoutMs?: number } = {}): Promise<void> {
    this.#stopped ??= this.#leave(timeoutMs);
    return this.#stopped;
  }

  reconnect(reason: string): void {
    if (this.#local !== undefined) {
      this.#local.reconnect(reason);
      return;
    }
    this.#tellHello();
    this.#post({ type: 'reconnect', reason });
  }

  answer(id: string, answer: CommandAnswer): void {
    if (this.#local !== undefined) {
      this.#local.answer(id, answer);
      return;
    }
    try {
      this.#post({ type: 'answer', id, answer });
    } catch (cause) {
      const error = `the result cannot be sent: ${(cause as Error).message}`;
      this.#post({ type: 'answer', id, answer: { status: 'failed', result: null, error } });
    }
  }

  note(kind: number, task: number, remarkable: boolean): void {
    if (this.#local !== undefined) {
      this.#local.note(kind, task, remarkable);
      return;
    }
    if (this.#notes.length === 0) {
      setImmediate(() => this.#post({ type: 'notes', notes: this.#notes.splice(0) }));
    }
    this.#notes.push(kind, task, remarkable ? 1 : 0);
  }

  #spawn(): void {
    const { flow, url, token, secret, transport, allowPlain, times, backoff, journal } = this.#options;
    try {
      const handle = journal.lend();
      const data: ThreadData = {
        'z4j.bare.thread': true,
        // Of the secret a copy: it may be a view of a larger piece of memory, all of which would go over.
        link: {
          url,
          token,
          secret: new Uint8Array(secret),
          ...(transport === undefined ? {} : { transport }),
          ...(allowPlain === undefined ? {} : { allowPlain }),
          ...(times === undefined ? {} : { times }),
          ...(backoff === undefined ? {} : { backoff }),
        },
        journal: handle,
        hello: this.#newHello() ?? (this.#hello as NumberedHello),
        flow: flow && { share: flow.share ?? 1 },
        liveness: this.#liveness.memory,
      };
      // Its output goes nowhere (reading it, even to throw it away, would keep the process alive); the host's flags are
      // for the host.
      const options = { name: 'z4j', execArgv: [], env: environment(), stdout: true, stderr: true };
      const worker = quietly(() => new Worker(ENTRY, { ...options, workerData: data, transferList: [handle.port] }));
      this.#worker = worker;
      this.#ran = false;
      let reason: unknown;
      worker.on('message', (message: ThreadMessage) => this.#guarded(() => this.#take(message)));
      worker.on('error', (cause) => {
        reason = cause;
      });
      worker.on('exit', (code) => this.#guarded(() => this.#ended(reason ?? `code ${code}`)));
      worker.unref();
    } catch (cause) {
      this.#ended(cause);
    }
  }

  /** Undefined when it is the one the thread has. */
  #newHello(): NumberedHello | undefined {
    const payload = this.#options.hello();
    const text = JSON.stringify(payload);
    if (text === this.#helloText) return undefined;
    this.#helloText = text;
    this.#hello = { number: (this.#hello?.number ?? 0) + 1, payload };
    return this.#hello;
  }

  #tellHello(): void {
    const hello = this.#newHello();
    if (hello !== undefined) this.#post({ type: 'hello', hello });
  }

  #post(message: HostMessage): void {
    this.#worker?.postMessage(message);
  }

  #call(message: (call: number) => HostMessage): Promise<unknown> {
    if (this.#worker === undefined) return Promise.reject(new Error('there is no connection'));
    const call = ++this.#lastCall;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject });
      this.#post(message(call));
    });
  }

  /** Nothing of ours is thrown into the host. */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (cause) {
      this.#options.log.once('thread.callback', 'error', `unexpected in the agent: ${String(cause)}`);
    }
  }

  #take(message: ThreadMessage): void {
    const { log } = this.#options;
    this.#ran = true;
    if ('stats' in message) this.#stats = message.stats;
    switch (message.type) {
      case 'state':
        this.#options.onState?.(message.stats.state);
        break;
      case 'beat':
        void this.#beat();
        break;
      case 'session':
        this.#onSession(message.session, message.told);
        break;
      case 'watch':
        this.#options.flow?.onWatch(message.on);
        break;
      case 'replaced':
        this.#options.onReplaced?.();
        this.#tellHello();
        break;
      case 'command': {
        const { id } = message.command;
        // Else the brain was told that we are busy.
        if (!claim(message.claim)) break;
        this.#options.onCommand(message.command, { ack() {}, result: (answer) => this.answer(id, answer) });
        break;
      }
      case 'written':
        this.#options.onResultWritten?.(message.id);
        break;
      case 'done':
      case 'failed': {
        const call = this.#calls.get(message.call);
        this.#calls.delete(message.call);
        if (message.type === 'done') call?.resolve(message.value);
        else call?.reject(new Error(message.reason));
        break;
      }
      case 'log':
        if (message.cause === undefined) log[message.level](message.message);
        else log.once(message.cause, message.level, message.message);
        break;
      case 'over':
        log.over(message.cause);
    }
  }

  async #beat(): Promise<void> {
    const { journal, heartbeat, log } = this.#options;
    journal.sweep();
    if (this.#beating || heartbeat === undefined || this.#stopped !== undefined) return;
    this.#beating = true;
    try {
      const { adapter_health, telemetry_loss } = await heartbeat(AbortSignal.timeout(FIGURES_MS));
      // The rest the thread knows better.
      this.#post({
        type: 'figures',
        figures: { adapter_health: adapter_health ?? {}, telemetry_loss: telemetry_loss ?? null },
      });
    } catch (cause) {
      log.debug(`no figures for the heartbeat: ${String(cause)}`);
    } finally {
      this.#beating = false;
    }
  }

  #onSession(facts: SessionFacts | undefined, told: number): void {
    if (facts === undefined) {
      this.#session = undefined;
      this.#options.onSession?.(undefined);
      if (this.#stopped === undefined) this.#tellHello();
      return;
    }
    const { sessionId } = facts;
    this.#session = {
      ...facts,
      sendEvents: (records) =>
        // Copies, as of the secret.
        this.#call((call) => ({
          type: 'send',
          call,
          sessionId,
          records: records.map((one) => new Uint8Array(one)),
        })) as Promise<AckSummary>,
    };
    this.#options.onSession?.(this.#session);
    if (told !== this.#hello?.number) this.reconnect('the inventory of this process changed meanwhile');
  }

  /** The thread is gone, or could not be started. */
  #ended(reason: unknown): void {
    const { log, onSession, journal, onCommand, flow, ...rest } = this.#options;
    flow?.onWatch(false);
    this.#worker = undefined;
    for (const call of this.#calls.values()) call.reject(new Error('the thread of the agent has ended'));
    this.#calls.clear();
    if (this.#session !== undefined) {
      this.#session = undefined;
      onSession?.(undefined);
    }
    this.#stats = {
      ...this.#stats,
      state: this.#stopped === undefined ? 'waiting' : 'stopped',
      connectedAt: undefined,
    };
    if (this.#stopped !== undefined) return;
    const why = reason instanceof Error ? reason.message : String(reason);
    if (this.#ran && !this.#restarted) {
      this.#restarted = true;
      log.warn(`the thread of the agent ended (${why}); it was started again`);
      this.#spawn();
      return;
    }
    log.warn(
      `the thread of the agent ${this.#ran ? 'ended again' : 'cannot run'} (${why}): this one does its work, which waits while the event loop is blocked`,
    );
    const selection = flow && new Flow({ ...flow, log });
    this.#local = new Link({
      ...rest,
      log,
      journal,
      selection,
      onCommand,
      ...(onSession === undefined ? {} : { onSession }),
    });
    this.#local.start();
  }

  async #leave(timeoutMs: number): Promise<void> {
    const { journal } = this.#options;
    clearInterval(this.#stamps);
    journal.flush();
    if (this.#local !== undefined) return this.#local.stop({ timeoutMs });
    const worker = this.#worker;
    if (worker === undefined) return;
    await new Promise<void>((resolve) => {
      const late = setTimeout(resolve, timeoutMs + END_MS);
      worker.once('exit', () => {
        clearTimeout(late);
        resolve();
      });
      this.#post({ type: 'stop', timeoutMs, end: journal.end });
    });
    await worker.terminate();
  }
}
