// One state machine, from attempt to attempt: what it hands out (sessions, window, outbox, back-off) has files of its own.
import { performance } from 'node:perf_hooks';
import type { JournalReading } from '../journal/reader.js';
import type { Log } from '../log.js';
import { type CloseReaction, closeCode, type HelloPayload, ProtocolError } from '../protocol/index.js';
import { quietly } from '../quiet.js';
import { advice, FATAL_SKEW_MS, skewAdvice } from './advice.js';
import { Backoff } from './backoff.js';
import type {
  LinkOptions,
  LinkPort,
  LinkSession,
  LinkState,
  LinkStats,
  LinkTimes,
  Reply,
  TransportName,
} from './link-types.js';
import { LongPollSession } from './longpoll-session.js';
import { type CommandAnswer, Outbox } from './outbox.js';
import { Outflow } from './outflow.js';
import { Pulse } from './pulse.js';
import { readCommand, type Session, type SessionContext, type SessionEnd } from './session.js';
import { UploadLimit } from './upload-limit.js';
import { type BrainAddress, brainAddress } from './url.js';
import { WebSocketSession } from './websocket-session.js';

const TIMES: LinkTimes = {
  ack: 90_000,
  handshake: 15_000,
  proof: 1000,
  upgradeRetry: 300_000,
  poll: 25_000,
  heartbeat: 10_000,
};

/** How long a connection that is to be replaced may still wait for acks. */
const HANDOVER_MS = 2000;
/** WebSocket is given up for long-poll after so many. */
const UPGRADE_FAILURES = 3;
/** Of the time of a stop, what is left for the closing handshake. */
const CLOSE_MS = 200;

/**
 * The connection to a brain: connects, says who we are, sends what the journal holds, confirms what was acked, brings
 * commands and carries their results, and connects again for as long as it is wanted. Never keeps the process alive,
 * except during `flush` and `stop`.
 */
export class Link implements LinkPort {
  readonly #options: LinkOptions;
  readonly #address: BrainAddress;
  readonly #journal: JournalReading;
  readonly #log: Log;
  readonly #times: LinkTimes;
  readonly #backoff: Backoff;
  readonly #outflow: Outflow;
  readonly #outbox = new Outbox();
  readonly #pulse: Pulse;
  readonly #context: SessionContext;
  #state: LinkState = 'idle';
  #session: Session | undefined;
  #up: LinkSession | undefined;
  #connectedAt: number | undefined;
  #lastConnectedAt: number | undefined;
  #skewMs: number | undefined;
  #hello: HelloPayload | undefined;
  /** Ends the wait for the next attempt. */
  #retry: (() => void) | undefined;
  /** Called after every change that a flush may wait for. */
  readonly #watchers = new Set<() => void>();
  #stopping = false;
  #stopped: Promise<void> | undefined;
  /** Attempts in a row that long-poll would have survived. */
  #upgradeFailures = 0;
  readonly #uploadLimit = new UploadLimit();
  /** The connection worked. */
  #proven = false;
  /** A brain has signed with our secret. */
  #secretIsRight = false;
  /** Causes that were told and are to be taken back. */
  readonly #told = new Set<string>();

  /** Throws `LinkError` `url` or `insecure`. Connects nothing before `start`. */
  constructor(options: LinkOptions) {
    this.#options = options;
    this.#address = brainAddress(options.url, { allowPlain: options.allowPlain ?? false });
    this.#journal = options.journal;
    this.#log = options.log;
    this.#times = { ...TIMES, ...options.times };
    this.#backoff = new Backoff(options.backoff);
    this.#outflow = new Outflow({
      journal: options.journal,
      now: () => performance.now(),
      selection: options.selection,
      onReady: () => quietly(() => this.#session?.wake()),
      onGivenUp: (reason) => {
        this.#log.once('link.given-up', 'warn', `an event was given up: ${reason}; later ones are only counted`);
        this.#call(() => options.onGivenUp?.());
        this.#changed();
      },
    });
    this.#pulse = new Pulse({
      journal: options.journal,
      log: options.log,
      stats: () => this.stats,
      hello: () => this.#hello,
      heartbeat: options.heartbeat,
      agentStatus: options.agentStatus,
    });
    this.#context = this.#makeContext();
  }

  get state(): LinkState {
    return this.#state;
  }

  /** The established connection. */
  get session(): LinkSession | undefined {
    return this.#up;
  }

  get stats(): LinkStats {
    return {
      state: this.#state,
      transport: this.#up?.transport,
      connectedAt: this.#connectedAt,
      lastConnectedAt: this.#lastConnectedAt,
      lastAckAt: this.#outflow.lastAckAt,
      authFailures: this.#backoff.streak('auth'),
      protocolFailures: this.#backoff.streak('protocol'),
      connectionFailures: this.#backoff.streak('connection'),
      unacked: this.#outflow.unacked,
      rate: this.#outflow.rate,
      givenUp: this.#outflow.givenUp,
      leftOut: this.#outflow.leftOut,
      share: this.#outflow.share,
      clockSkewMs: this.#skewMs,
    };
  }

  /** Connects, and again and again until `stop`. Does nothing when it was started or stopped before. */
  start(): void {
    if (this.#state !== 'idle') return;
    this.#journal.onAppend = () => {
      if (this.#outflow.wanting) quietly(() => this.#session?.wake());
    };
    quietly(() => void this.#run());
  }

  /**
   * Resolves when everything appended so far is confirmed and every result is written: true; false when the time was
   * over or there is no connection to be had. Keeps the process alive for as long.
   */
  flush(timeoutMs: number): Promise<boolean> {
    this.#journal.flush();
    this.#outflow.hurry();
    const target = this.#journal.end;
    return quietly(() => this.#settled(() => this.#journal.confirmed >= target && this.#outbox.empty, timeoutMs));
  }

  /** Clean goodbye: awaits the acks of all that was appended, then closes with 1000. For good; never rejects. */
  stop({ timeoutMs = 2000 }: { timeoutMs?: number } = {}): Promise<void> {
    this.#stopped ??= this.#leave(timeoutMs);
    return this.#stopped;
  }

  async #leave(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    if (this.#state !== 'idle') await this.flush(Math.max(timeoutMs - CLOSE_MS, 0));
    this.#stopping = true;
    this.#journal.onAppend = undefined;
    this.#retry?.();
    const session = this.#session;
    if (session !== undefined) {
      const left = Math.max(deadline - performance.now(), 1);
      const alive = setTimeout(() => undefined, left + CLOSE_MS);
      quietly(() => session.close(left));
      await session.ended;
      clearTimeout(alive);
    }
    this.#setState('stopped');
  }

  /** Tells the selection how a task began or ended. */
  note(...note: Parameters<LinkPort['note']>): void {
    this.#options.selection?.note(...note);
  }

  /** Connects again with a new hello, for example because there are more engines now; unacked events are awaited. */
  reconnect(reason: string): void {
    const session = this.#session;
    // Nobody has heard the old hello yet.
    if (session === undefined || (this.#up === undefined && this.#hello === undefined)) return;
    this.#log.debug(`connecting again: ${reason}`);
    quietly(() => {
      if (this.#up === undefined) {
        session.close(0);
        return;
      }
      session.quiesce();
      void this.#settled(() => this.#outflow.unacked === 0, HANDOVER_MS, false).then(() => {
        if (this.#session === session) session.close(HANDOVER_MS);
      });
    });
  }

  /** Answers a command, also one that an earlier process took; kept and sent like `Reply.result`. */
  answer(commandId: string, answer: CommandAnswer, claimToken: string | null = null): void {
    this.#outbox.add(commandId, answer, claimToken, performance.now());
    quietly(() => this.#session?.wake());
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      this.#setState('connecting');
      this.#hello = undefined;
      const session = this.#open();
      this.#session = session;
      const end = this.#blame(await session.ended);
      this.#session = undefined;
      this.#connectedAt = undefined;
      const wasUp = this.#up;
      this.#up = undefined;
      if (wasUp !== undefined) this.#call(() => this.#options.onSession?.(undefined));
      if (this.#stopping) break;
      const fallBack = this.#countUpgrade(end, session.transport, wasUp !== undefined);
      const wait = this.#judge(end, fallBack);
      if (wait > 0) await this.#wait(wait);
    }
  }

  #open(): Session {
    const { transport = 'auto' } = this.#options;
    if (transport === 'ws' || (transport === 'auto' && this.#upgradeFailures < UPGRADE_FAILURES)) {
      return new WebSocketSession(this.#context);
    }
    const session = new LongPollSession(this.#context, this.#uploadLimit);
    if (transport === 'auto') {
      const back = setTimeout(() => this.reconnect('WebSocket may pass again'), this.#times.upgradeRetry).unref();
      void session.ended.then(() => clearTimeout(back));
    }
    return session;
  }

  /** Counts what speaks for long-poll. Returns whether it is to be tried now. */
  #countUpgrade({ error }: SessionEnd, transport: TransportName, wasUp: boolean): boolean {
    if (transport === 'longpoll') {
      // One more failure of WebSocket, at the end of an orderly session or after a failed one, and we are back here.
      this.#upgradeFailures = UPGRADE_FAILURES - 1;
      return false;
    }
    if (wasUp) this.#upgradeFailures = 0;
    else if (error?.code === 'upgrade' || error?.code === 'handshake') this.#upgradeFailures++;
    else return false;
    return (this.#options.transport ?? 'auto') === 'auto' && this.#upgradeFailures === UPGRADE_FAILURES;
  }

  /** Milliseconds until the next attempt; says what an operator has to know, once. */
  #judge(end: SessionEnd, fallBack: boolean): number {
    if (end.wanted) return 0;
    if (fallBack) {
      this.#log.once('link.longpoll', 'info', 'WebSocket does not pass: long-poll is used (see Z4J_TRANSPORT)');
      return 0;
    }
    const reaction = this.#reaction(end);
    const { cause, level, message } = advice(end, { shown: this.#address.shown, skewMs: this.#skewMs, reaction });
    this.#log.debug(`connection ended: ${end.error?.message ?? `code ${end.code}`}`);
    if (reaction === 'replaced') this.#call(() => this.#options.onReplaced?.());
    // One short interruption is not worth a line.
    if (level !== undefined && (reaction !== 'connection' || !this.#proven || this.#backoff.streak(reaction) > 0)) {
      if (this.#log.once(cause, level, message)) this.#told.add(cause);
    }
    this.#proven = false;
    return Math.max(this.#backoff.next(reaction), end.retryAfterMs ?? 0);
  }

  /** With another secret neither side believes the other: whoever has spoken first, it is the same fault. */
  #blame(end: SessionEnd): SessionEnd {
    const cause = end.error?.cause;
    const isDistrusted = cause instanceof ProtocolError && cause.code === 'signature' && !this.#secretIsRight;
    return isDistrusted ? { code: 4403, wanted: end.wanted } : end;
  }

  /** A secret that was right before is not wrong now: then it was the frame. */
  #reaction({ code, error }: SessionEnd): CloseReaction {
    if (error !== undefined) return 'connection';
    if (code === 4403 && this.#secretIsRight && Math.abs(this.#skewMs ?? 0) < FATAL_SKEW_MS) return 'protocol';
    const { reaction } = closeCode(code);
    return reaction === 'done' ? 'connection' : reaction;
  }

  /** At most until the time is over, `stop`, or somebody in a hurry (`flush`). */
  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#retry?.(), ms).unref();
      this.#retry = () => {
        clearTimeout(timer);
        this.#retry = undefined;
        resolve();
      };
      this.#setState('waiting');
    });
  }

  /**
   * Waits for a condition with a timer that keeps the process alive. While waiting for the next attempt one is made
   * at once; when that fails there is nothing to wait for.
   */
  #settled(condition: () => boolean, timeoutMs: number, hurry = true): Promise<boolean> {
    return new Promise((resolve) => {
      let hurried = false;
      const check = (): void => {
        const met = condition();
        const hopeless = hurry && (this.#state === 'idle' || this.#state === 'stopped');
        if (!met && hurry && this.#state === 'waiting' && !hurried) {
          hurried = true;
          this.#retry?.();
          return;
        }
        const failed = hurry && this.#state === 'waiting' && hurried;
        if (!met && !hopeless && !failed) return;
        clearTimeout(timer);
        this.#watchers.delete(check);
        resolve(met);
      };
      const timer = setTimeout(() => {
        this.#watchers.delete(check);
        resolve(condition());
      }, timeoutMs);
      this.#watchers.add(check);
      check();
    });
  }

  /** Whatever happens in there, the link goes on. */
  #call(callback: () => void): void {
    try {
      callback();
    } catch (cause) {
      this.#log.once('link.callback', 'error', `unexpected in the agent: ${String(cause)}`);
    }
  }

  #changed(): void {
    for (const check of [...this.#watchers]) check();
  }

  #setState(state: LinkState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#call(() => this.#options.onState?.(state));
    this.#changed();
  }

  #makeContext(): SessionContext {
    const { token, secret, env = process.env } = this.#options;
    return {
      address: this.#address,
      token,
      secret,
      env,
      times: this.#times,
      outflow: this.#outflow,
      outbox: this.#outbox,
      hello: () => {
        this.#hello = this.#options.hello();
        return this.#hello;
      },
      beat: (write, intervalMs) => this.#pulse.beat(write, intervalMs),
      retryContracts: () => this.#retryContracts(),
      onUp: (session) => this.#onUp(session),
      onProof: (signed) => this.#onProof(signed),
      secretIsRight: () => this.#secretIsRight,
      onChange: () => this.#changed(),
      onCommand: (frame) =>
        this.#call(() => {
          this.#options.onCommand(readCommand(frame), this.#reply(frame.id, frame.payload.delivery_claim_token));
        }),
      onResultWritten: (id) => this.#call(() => this.#options.onResultWritten?.(id)),
      onDebug: (message) => this.#log.debug(message),
    };
  }

  #onUp(session: LinkSession): void {
    const now = Date.now();
    this.#up = session;
    this.#connectedAt = now;
    this.#lastConnectedAt = now;
    this.#skewMs = session.clockSkewMs;
    this.#outbox.reopen(performance.now());
    const skew = skewAdvice(session.clockSkewMs ?? 0);
    if (skew === undefined) this.#log.over('link.skew');
    else this.#log.once('link.skew', 'warn', skew);
    this.#setState('connected');
    this.#call(() => this.#options.onSession?.(session));
  }

  #onProof(signed: boolean): void {
    this.#secretIsRight ||= signed;
    this.#proven = true;
    this.#backoff.reset();
    const told = [...this.#told];
    this.#told.clear();
    for (const cause of told) this.#log.over(cause);
    if (told.length > 0) this.#log.info(`connected to the brain at ${this.#address.shown} again`);
  }

  #reply(id: string, claimToken: string | null): Reply {
    let answered = false;
    return {
      ack: () => quietly(() => this.#session?.ack(id, claimToken)),
      result: (answer) => {
        if (answered) return;
        answered = true;
        this.answer(id, answer, claimToken);
      },
    };
  }

  #retryContracts(): string {
    this.#hello ??= this.#options.hello();
    const engines =
      this.#options.retryContracts ?? Object.fromEntries(this.#hello.engines.map((engine) => [engine, 1]));
    return Object.entries(engines)
      .map(([engine, version]) => `${engine}=${version}`)
      .join(',');
  }
}
