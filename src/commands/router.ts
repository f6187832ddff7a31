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
import { checkParameters, checkPurge, isAllowed, MAX_NAME, type PurgeRules } from './guards.js';
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
/** What a brain asks for to show schedules: nothing an operator does. */
const SHOWING: ReadonlySet<string> = new Set(['schedule.external.activate', 'schedule.resync']);
const CONCURRENCY = 8;
/** The brain gives up after `timeout_seconds`; the answer has to be there before. */
const MARGIN = 0.8;

/** A fire is a task to be submitted. */
const isOfSchedules = (action: string): boolean => action.startsWith('schedule.') && action !== 'schedule.fire';

/** What is issued again is another command, but the same fire or operation. */
function occurrenceOf({ action, parameters }: ReceivedCommand): string | undefined {
  const { fire_id: fire, operation_id: operation } = parameters;
  const isId = (id: JsonValue | undefined): boolean => typeof id === 'string' && id !== '' && id.length <= MAX_NAME;
  if (isId(fire)) return `fire:${fire}`;
  return isOfSchedules(action) && isId(operation) ? `operation:${operation}` : undefined;
}

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
  /** By key: commands that are being carried out. */
  readonly #underWay = new Map<string, Promise<CommandResult>>();
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** Resolves with the one answer to the command; never rejects. */
  handle(command: ReceivedCommand): Promise<CommandResult> {
    const occurrence = occurrenceOf(command);
    const run = (): Promise<CommandResult> => this.#run(command);
    // An epoch of schedules ends with its connection: no later one may answer for it.
    const key = isOfSchedules(command.action) ? `schedule:${command.id}` : command.id;
    return this.#joined(key, () =>
      this.#limited(() =>
        this.#remembered(
          key,
          command,
          occurrence === undefined
            ? run
            : () => this.#joined(occurrence, () => this.#remembered(occurrence, command, run)),
        ),
      ),
    );
  }

  /** One that comes again while it is carried out has the same answer: a brain believes the first it gets. */
  #joined(key: string, run: () => Promise<CommandResult>): Promise<CommandResult> {
    let result = this.#underWay.get(key);
    if (result === undefined) {
      result = run().finally(() => this.#underWay.delete(key));
      this.#underWay.set(key, result);
    }
    return result;
  }

  async #remembered(
    key: string,
    { action }: ReceivedCommand,
    run: () => Promise<CommandResult>,
  ): Promise<CommandResult> {
    const { memory } = this.#options;
    const known = memory.begin(key);
    if (typeof known === 'object') return known;
    const isOpen = known === 'running' || (known === 'interrupted' && !REPEATABLE.has(action));
    const result = isOpen ? INTERRUPTED : await run();
    memory.finish(key, result);
    return result;
  }

  async #run(command: ReceivedCommand): Promise<CommandResult> {
    const { result, isMissing } = await this.#attempt(command);
    const elsewhere = isMissing ? await this.#elsewhere(command) : undefined;
    if (elsewhere === undefined) this.#tell(command, result);
    return elsewhere ?? result;
  }

  /** For a sibling: carries a command out whatever is remembered of it; undefined when what it is for is not here. */
  async executeHere(command: ReceivedCommand): Promise<CommandResult | undefined> {
    const { result, isMissing } = await this.#attempt(command);
    if (isMissing) return undefined;
    this.#tell(command, result);
    return result;
  }

  async #attempt(command: ReceivedCommand): Promise<{ result: CommandResult; isMissing: boolean }> {
    try {
      return { result: success(await this.#carryOut(command)), isMissing: false };
    } catch (cause) {
      return { result: failure(cause), isMissing: cause instanceof CommandError && cause.code === 'not_found' };
    }
  }

  #carryOut(command: ReceivedCommand): Promise<JsonValue> {
    const { allowed, schedules, engines } = this.#options;
    const { action, parameters, target } = command;
    if (!isAllowed(action, allowed) && !SHOWING.has(action)) {
      throw new CommandError('refused', `${action} is not among Z4J_ALLOW_COMMANDS of this process`);
    }
    checkParameters(action, parameters);
    if (isOfSchedules(action)) {
      if (schedules === undefined) throw new CommandError('unsupported', 'this process has no schedules');
      return this.#timed(command, () => schedules(command));
    }
    const engine = this.#resolve(command);
    if (engine === undefined) throw noEngine(engines(), namedEngine(parameters, target), parameters);
    return this.#ask(engine, command);
  }

  /** The answer of a sibling; undefined when none has what the command is for. */
  async #elsewhere(command: ReceivedCommand): Promise<CommandResult | undefined> {
    if (isOfSchedules(command.action)) return undefined;
    try {
      return await this.#options.siblings?.ask(command);
    } catch (cause) {
      return failure(cause);
    }
  }

  #tell({ action, target, issuedBy }: ReceivedCommand, { error }: CommandResult): void {
    const { log } = this.#options;
    const line = `${action} ${String(target.id ?? '')} for ${issuedBy ?? 'the brain'}: ${error ?? 'done'}`;
    if (LOUD.has(action)) log.warn(line);
    else log.info(line);
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
      // In a turn of its own: a storm of commands must not hold up the host.
      else setImmediate(next);
    }
  }
}
