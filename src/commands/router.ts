import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type Action,
  type Command,
  type CommandContext,
  CommandError,
  type Engine,
  type JsonObject,
  type JsonValue,
} from '../engine.js';
import type { Log } from '../log.js';
import { checkParameters, checkPurge, isAllowed, type PurgeRules } from './guards.js';
import { checkAction, namedEngine, noEngine, resolveEngine } from './resolve.js';

export interface CommandResult {
  readonly status: 'success' | 'failed';
  readonly result: JsonValue;
  readonly error: string | null;
}

/** A command as the brain sent it, its frame verified. */
export interface ReceivedCommand {
  readonly id: string;
  readonly action: string;
  readonly target: JsonObject;
  readonly parameters: JsonObject;
  readonly timeoutSeconds: number;
  readonly issuedBy: string | null;
}

/** What happened to a command before; survives the process (`Results` of the journal). */
export interface CommandMemory {
  begin(key: string): 'new' | 'running' | 'interrupted' | CommandResult;
  finish(key: string, result: CommandResult): void;
}

/** The other processes of the same agent on this host. */
export interface Siblings {
  /** The result of the one that could act; undefined when none could. */
  ask(command: ReceivedCommand): Promise<CommandResult | undefined>;
}

export interface RouterOptions {
  readonly engines: () => readonly Engine[];
  readonly memory: CommandMemory;
  readonly allowed: readonly string[];
  readonly purge: PurgeRules;
  readonly excerpt: CommandContext['excerpt'];
  readonly log: Log;
  readonly siblings?: Siblings;
  /** Takes `schedule.*`, except fires. */
  readonly schedules?: (command: ReceivedCommand) => Promise<JsonValue>;
}

/** May be carried out again by a process that does not know whether it was. */
const REPEATABLE: ReadonlySet<string> = new Set([
  'schedule.fire',
  'reconcile_task',
  'dlq.list',
  'cancel_task',
  'schedule.resync',
]);
/** Changes that someone reading the log wants to see without asking for detail. */
const LOUD: ReadonlySet<string> = new Set(['purge_queue', 'restart_worker']);
const CONCURRENCY = 8;
/** The brain gives up after `timeout_seconds`; the answer has to be there before. */
const MARGIN = 0.8;

const success = (result: JsonValue): CommandResult => ({ status: 'success', result, error: null });

function failure(cause: unknown): CommandResult {
  const error = cause instanceof CommandError ? cause.message : `unexpected ${String(cause)}`;
  return { status: 'failed', result: cause instanceof CommandError ? cause.result : null, error: error.slice(0, 1000) };
}

/** The answer to a command whose process ended before it knew one. */
export const INTERRUPTED = failure(
  new CommandError('indeterminate', 'the process ended while it carried this out; look before you repeat it'),
);

/** Executes commands: each once, with an answer for every one, a few at a time. */
export class CommandRouter {
  readonly #options: RouterOptions;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** Resolves with the one answer to the command; never rejects. */
  handle(command: ReceivedCommand): Promise<CommandResult> {
    const { fire_id } = command.parameters;
    // An epoch of schedules ends with its connection: no later one may answer for it.
    const bound = command.action.startsWith('schedule.') && command.action !== 'schedule.fire';
    return this.#once(bound ? `schedule:${command.id}` : command.id, command, () =>
      // A fire that is issued again is another command, but the same occurrence.
      typeof fire_id === 'string'
        ? this.#once(`fire:${fire_id}`, command, () => this.#run(command))
        : this.#run(command),
    );
  }

  async #once(key: string, { action }: ReceivedCommand, run: () => Promise<CommandResult>): Promise<CommandResult> {
    const { memory } = this.#options;
    const known = memory.begin(key);
    if (typeof known === 'object') return known;
    if (known === 'running')
      return failure(new CommandError('conflict', 'the same command is being carried out already'));
    const result = known === 'interrupted' && !REPEATABLE.has(action) ? INTERRUPTED : await run();
    memory.finish(key, result);
    return result;
  }

  #run(command: ReceivedCommand): Promise<CommandResult> {
    return this.#limited(() => this.execute(command));
  }

  /** Carries a command out whatever is remembered of it; `alone`: it comes from a sibling and goes to none. */
  async execute(command: ReceivedCommand, alone = false): Promise<CommandResult> {
    const { log, allowed, siblings } = this.#options;
    const who = command.issuedBy ?? 'the brain';
    let result: CommandResult;
    try {
      if (!isAllowed(command.action, allowed)) {
        throw new CommandError('refused', `${command.action} is not among Z4J_ALLOW_COMMANDS of this process`);
      }
      checkParameters(command.parameters);
      if (command.action.startsWith('schedule.') && command.action !== 'schedule.fire') {
        if (this.#options.schedules === undefined)
          throw new CommandError('unsupported', 'this process has no schedules');
        result = success(await this.#timed(command, () => this.#options.schedules?.(command) as Promise<JsonValue>));
      } else {
        const found = this.#resolve(command);
        const asked = found === undefined && !alone ? await siblings?.ask(command) : undefined;
        if (asked !== undefined) return asked;
        if (found === undefined) {
          throw noEngine(this.#options.engines(), namedEngine(command.parameters, command.target), command.parameters);
        }
        result = success(await this.#ask(found, command));
      }
    } catch (cause) {
      result = failure(cause);
    }
    const line = `${command.action} ${String(command.target.id ?? '')} for ${who}: ${result.error ?? 'done'}`;
    if (LOUD.has(command.action)) log.warn(line);
    else log.info(line);
    return result;
  }

  /** Whether this process has what the command is for. */
  canAct(command: ReceivedCommand): boolean {
    try {
      return this.#resolve(command) !== undefined;
    } catch {
      return false;
    }
  }

  #resolve({ action, parameters, target }: ReceivedCommand): Engine | undefined {
    return resolveEngine(this.#options.engines(), namedEngine(parameters, target), {
      action: action as Action,
      parameters,
    });
  }

  async #ask(engine: Engine, received: ReceivedCommand): Promise<JsonValue> {
    const action = (received.action === 'schedule.fire' ? 'submit_task' : received.action) as Action;
    checkAction(engine, action);
    const command: Command = {
      id: received.id,
      action,
      parameters: received.parameters,
      target: { type: String(received.target.type ?? ''), id: (received.target.id as string | null) ?? null },
      issuedBy: received.issuedBy,
    };
    return this.#timed(received, async (signal) => {
      const result = await engine.execute?.(command, {
        signal,
        yield: () => nextTurn(),
        allowPurge: (queue, depth) => checkPurge(received.parameters, queue, depth, this.#options.purge),
        excerpt: this.#options.excerpt,
      });
      return result ?? null;
    });
  }

  /** Rejects as indeterminate when the time is up; what was begun may still take effect. */
  #timed(command: ReceivedCommand, run: (signal: AbortSignal) => Promise<JsonValue>): Promise<JsonValue> {
    const controller = new AbortController();
    const seconds = Math.max(1, command.timeoutSeconds * MARGIN);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const cause = new CommandError(
          'indeterminate',
          `${command.action} had no result after ${Math.round(seconds)} s; it may still take effect: look before you repeat it`,
          { result: { indeterminate: true, operation: command.action } },
        );
        controller.abort(cause);
        reject(cause);
      }, seconds * 1000);
      timer.unref();
      run(controller.signal)
        .then(resolve, reject)
        .finally(() => clearTimeout(timer));
    });
  }

  async #limited<T>(run: () => Promise<T>): Promise<T> {
    if (this.#running >= CONCURRENCY) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    try {
      return await run();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}
