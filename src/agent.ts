import type { AgentLink } from './agent-link.js';
import { type AgentOptions, missingSetting, readConfiguration, type Settings } from './config.js';
import { Dispatcher } from './dispatcher.js';
import { type Engine, hub, type JsonValue, type TargetReport } from './engine.js';
import { LEAVE_MS, leaveWithProcess } from './exit.js';
import { type Identity, identityOf } from './identity.js';
import type { LinkStats } from './link/index.js';
import { brainAddress } from './link/url.js';
import { isObserving, observe } from './loading/observe.js';
import { selection } from './loading/selection.js';
import { createLog, type Log } from './log.js';
import { decodeSecret } from './protocol/index.js';
import { quietly } from './quiet.js';
import { Redactor } from './redactor.js';
import { lasting } from './schedules/overrides.js';
import { memoryStorage, openStorage, type Storage, sharedTexts } from './storage.js';

/** An agent that cannot do what it was asked; the message says what to do. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
  readonly code: 'settings' | 'state';
  constructor(code: AgentError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface AgentStatus {
  readonly state: AgentState;
  readonly engines: readonly string[];
  readonly link: LinkStats | undefined;
  readonly journal: { readonly records: number; readonly bytes: number; readonly lost: number };
}

/** `new` → `listening` (events are captured) → `running` (connected or connecting) → `stopped`. */
export type AgentState = 'new' | 'listening' | 'running' | 'stopped';

/** Engines that appear within this time after the first are in the first hello, in milliseconds. */
const GATHER_MS = 150;
/**
 * The z4j agent of this process or thread: captures what the engines do, reports it to a brain and carries out what
 * operators ask.
 *
 *     await using agent = await new Agent({ token, hmacSecret, brainUrl }).start();
 *
 * Options win over the environment; see `SETTINGS` for both.
 */
export class Agent {
  readonly settings: Settings;
  /** Where the agent says what it has to say. */
  readonly log: Log;
  /** The sentence about what is missing to connect. */
  readonly #missing: string | undefined;
  readonly #redactor: Redactor;
  readonly #dispatcher: Dispatcher;
  readonly #engines = new Map<string, Engine>();
  #state: AgentState = 'new';
  #storage: Storage;
  #identity: Identity | undefined;
  #link: AgentLink | undefined;
  #opening: Promise<Identity> | undefined;
  #looked: Promise<void> | undefined;
  #starting: Promise<this> | undefined;
  #stopping: Promise<void> | undefined;
  #gathering: NodeJS.Timeout | undefined;
  #onStop: (() => void) | undefined;

  /** Called once, shortly after the first live engine of a listening agent. */
  onFirstEngine: (() => void) | undefined;

  /** Throws a `SettingError` for an option that cannot be used; nonsense in the environment is one warning each. */
  constructor(options: AgentOptions = {}) {
    const { settings, problems } = readConfiguration(options);
    this.settings = settings;
    this.log = createLog({ level: settings.logLevel, format: settings.logFormat });
    this.#missing = missingSetting(settings, problems);
    // That one is told by whoever starts this agent.
    for (const problem of problems) if (problem !== this.#missing) this.log.warn(problem);
    this.#redactor = new Redactor({
      extraKeyPatterns: settings.redactionExtraKeyPatterns,
      extraValuePatterns: settings.redactionExtraValuePatterns,
      maxStringBytes: settings.maxPayloadBytes,
    });
    this.#storage = memoryStorage(settings);
    this.#dispatcher = new Dispatcher({
      // The journal is opened later than the first event is captured.
      journal: {
        append: (record, meta) => this.#storage.journal.append(record, meta),
        flush: () => this.#storage.journal.flush(),
      },
      redactor: this.#redactor,
    });
  }

  get state(): AgentState {
    return this.#state;
  }

  /** Which libraries were found, with version, file, who saw them and what became of it. */
  targets(): readonly TargetReport[] {
    return hub.targets;
  }

  status(): AgentStatus {
    const { journal } = this.#storage;
    return {
      state: this.#state,
      engines: [...this.#engines.keys()],
      link: this.#link?.stats,
      journal: { ...journal.size, lost: journal.losses.records },
    };
  }

  /** Adds an engine, any number of times with different names; before or after `start()`. */
  registerEngine(engine: Engine): this {
    const known = this.#engines.get(engine.name);
    if (known === engine) return this;
    if (known !== undefined) {
      throw new AgentError('state', `an engine named ${engine.name} is registered already; give this one a namespace`);
    }
    this.#engines.set(engine.name, engine);
    if (this.settings.disabled) return this;
    hub.engines.set(engine.name, engine);
    const { scheduler } = engine;
    if (scheduler?.onDefined !== undefined) {
      // Code defines schedules at this moment: a disabled one must not run until the brain has been reached.
      const texts = sharedTexts(this.settings, this.log);
      lasting({ engine: engine.name, scheduler, texts, log: this.log });
    }
    if (this.#state === 'running') this.#startEngine(engine);
    return this;
  }

  /**
   * Begins to capture; called by `start()`. Synchronous, so that no event is missed while the rest is under way.
   * Throws an `AgentError` when a setting is missing, or another agent of this thread captures already.
   */
  listen(): this {
    if (this.#state !== 'new' || this.settings.disabled) return this;
    this.#checkSettings();
    if (hub.recorder !== undefined) {
      throw new AgentError(
        'state',
        'this process has an agent already: start it by --import @z4j/bare/register or in code, not both',
      );
    }
    this.#state = 'listening';
    if (!isObserving()) {
      const { enabledInstrumentations, disabledInstrumentations } = this.settings;
      hub.enabled = selection(
        {
          Z4J_ENABLED_INSTRUMENTATIONS: enabledInstrumentations.join(','),
          Z4J_DISABLED_INSTRUMENTATIONS: disabledInstrumentations.join(','),
        },
        this.log,
      );
      this.#looked = observe(this.log, { late: true });
    }
    hub.recorder = {
      record: (event) => this.#dispatcher.record(event),
      engine: (engine) => this.#found(engine),
    };
    for (const engine of hub.engines.values()) this.#found(engine);
    return this;
  }

  /**
   * Connects and goes on trying; resolves when what was captured can be kept. Rejects with an `AgentError`. Does nothing
   * where the agent is disabled.
   */
  start(): Promise<this> {
    this.#starting ??= quietly(() => this.#start());
    return this.#starting;
  }

  /** Resolves after SIGTERM or SIGINT and a clean goodbye, or after a `stop()` by somebody else. */
  async runForever(): Promise<void> {
    await this.start();
    if (this.#stopping === undefined) await this.#toldToStop();
    await this.stop();
  }

  async #toldToStop(): Promise<void> {
    await new Promise<void>((resolve) => {
      // Nothing else may be there to keep the process alive.
      const alive = setInterval(() => {}, 1 << 30);
      const done = (): void => {
        clearInterval(alive);
        process.off('SIGTERM', done);
        process.off('SIGINT', done);
        resolve();
      };
      this.#onStop = done;
      process.on('SIGTERM', done);
      process.on('SIGINT', done);
    });
  }

  /** Says goodbye: what was captured is sent, acknowledged or left in the journal. Never rejects. */
  stop(timeoutMs: number = LEAVE_MS): Promise<void> {
    this.#onStop?.();
    this.#stopping ??= quietly(() => this.#stop(timeoutMs));
    return this.#stopping;
  }

  /** Resolves with true when everything captured so far has been acknowledged. */
  async flush(timeoutMs: number): Promise<boolean> {
    this.#storage.journal.flush();
    return (await this.#link?.flush(timeoutMs)) ?? false;
  }

  /** Says goodbye when the process ends by itself or by a signal; returns what undoes it. */
  leaveWithProcess(): () => void {
    return leaveWithProcess({
      leave: (timeoutMs) => this.stop(timeoutMs),
      flush: (timeoutMs) => this.flush(timeoutMs),
      write: () => this.#storage.journal.flush(),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #checkSettings(): Buffer {
    if (this.#missing !== undefined) throw new AgentError('settings', this.#missing);
    try {
      brainAddress(this.settings.brainUrl, { allowPlain: this.settings.allowInsecure });
    } catch (cause) {
      throw new AgentError('settings', `Z4J_BRAIN_URL: ${(cause as Error).message}`, { cause });
    }
    try {
      return decodeSecret(this.settings.hmacSecret);
    } catch (cause) {
      throw new AgentError('settings', `Z4J_HMAC_SECRET: ${(cause as Error).message}`, { cause });
    }
  }

  async #start(): Promise<this> {
    const { settings } = this;
    if (settings.disabled) return this;
    const secret = this.#checkSettings();
    this.listen();
    const [{ AgentLink }, identity] = await Promise.all([import('./agent-link.js'), this.#open(), this.#looked]);
    const storage = this.#storage;
    this.#link = new AgentLink({
      settings,
      secret,
      identity,
      storage,
      engines: this.#engines,
      redactor: this.#redactor,
      log: this.log,
    });
    storage.onMessage = async (message) =>
      (await this.#link?.answer(message)) ?? (JSON.parse(JSON.stringify(this.status())) as JsonValue);
    this.#state = 'running';
    for (const engine of this.#engines.values()) this.#startEngine(engine);
    this.#dispatcher.watch = this.#link.watch;
    this.#link.start();
    return this;
  }

  /** From now on what is captured outlives this process. */
  #open(): Promise<Identity> {
    this.#opening ??= openStorage(this.settings, this.log).then((storage) => {
      const identity = identityOf(this.settings, storage.slot);
      this.#storage = storage;
      this.#identity = identity;
      this.#dispatcher.identity = { workerName: (_engine, queue) => identity.workerName(queue) };
      return identity;
    });
    return this.#opening;
  }

  async #stop(timeoutMs: number): Promise<void> {
    const alive = setTimeout(() => undefined, timeoutMs);
    clearTimeout(this.#gathering);
    // A process may be done before it was connected.
    if (this.#gathering !== undefined && this.#starting === undefined) this.onFirstEngine?.();
    await this.#starting?.catch(() => undefined);
    await this.#opening;
    const was = this.#state;
    this.#state = 'stopped';
    if (was !== 'new') await this.#leave(timeoutMs);
    clearTimeout(alive);
  }

  async #leave(timeoutMs: number): Promise<void> {
    for (const engine of this.#engines.values()) {
      try {
        engine.stop();
      } catch (cause) {
        this.log.debug(`${engine.name} did not stop: ${String(cause)}`);
      }
    }
    this.#storage.journal.flush();
    await this.#link?.stop(timeoutMs);
    hub.recorder = undefined;
    this.#storage.close();
  }

  /** An instrumentation has its first live instance: time to connect, with what else appears now. */
  #found(engine: Engine): void {
    if (this.#engines.has(engine.name)) return;
    this.registerEngine(engine);
    if (this.#state === 'listening' && this.onFirstEngine !== undefined && this.#gathering === undefined) {
      const connect = this.onFirstEngine;
      // Whatever the host was doing when it made its first queue has nothing to do with us.
      this.#gathering = quietly(() => setTimeout(connect, GATHER_MS));
      this.#gathering.unref();
      // A process may be killed before it is connected.
      quietly(() => void this.#open());
    }
  }

  #startEngine(engine: Engine): void {
    const identity = this.#identity as Identity;
    try {
      engine.start({
        workerName: (queue) => identity.workerName(queue),
        record: (event) => this.#dispatcher.record(event),
        inventoryChanged: () => this.#link?.inventoryChanged(),
        warn: (cause, message) => void this.log.once(cause, 'warn', message),
        slot: identity.slot,
      });
    } catch (cause) {
      this.log.error(`${engine.name} cannot be reported: ${String(cause)}`);
    }
    this.#link?.inventoryChanged();
  }
}
