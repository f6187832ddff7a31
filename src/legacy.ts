import { type CommandResult, INTERRUPTED } from './commands/router.js';
import type { Results } from './journal/results.js';
import type { Storage } from './storage.js';

/** Milliseconds. */
export interface LegacyTimes {
  /** Until the first look at what dead siblings left. Default 5000. */
  readonly first?: number;
  /** Between two looks. Default 60 000. */
  readonly every?: number;
  /** For which the slot of a dead sibling is left to its supervisor. Default 30 000. */
  readonly grace?: number;
}

export interface LegacyOptions {
  readonly storage: Storage;
  /** Sends the result of a command. */
  readonly answer: (id: string, result: CommandResult) => void;
  readonly times?: LegacyTimes | undefined;
}

/** A brain forgets a command after a minute; before, one that died with our connection may want the result again. */
const SETTLED_MS = 60_000;

/** Keys of what a brain does not wait for by that name have a prefix. */
const isCommand = (key: string): boolean => !key.includes(':');

/**
 * What ended processes left: the answers they owed are sent by this one, and the slots of siblings that do not come
 * back are taken over.
 */
export class Legacy {
  readonly #options: LegacyOptions;
  /** By command: ends the time in which its result may have to be sent again. */
  readonly #settling = new Map<string, NodeJS.Timeout>();
  #look: NodeJS.Timeout | undefined;

  constructor(options: LegacyOptions) {
    this.#options = options;
  }

  start(): void {
    const { storage, times = {} } = this.#options;
    const { first = 5000, every = 60_000, grace } = times;
    for (const [id, result] of owed(storage.results)) this.#send(id, result);
    const look = async (): Promise<void> => {
      await storage.adopt((results) => {
        for (const [id, result] of owed(results)) this.#send(id, result);
      }, grace);
      this.#look = setTimeout(look, every).unref();
    };
    this.#look = setTimeout(look, first).unref();
  }

  /** The result of a command was written to the brain. */
  written(id: string): void {
    clearTimeout(this.#settling.get(id));
    const settled = (): void => {
      this.#settling.delete(id);
      this.#options.storage.results.sent(id);
    };
    this.#settling.set(id, setTimeout(settled, SETTLED_MS).unref());
  }

  stop(): void {
    clearTimeout(this.#look);
    for (const timer of this.#settling.values()) clearTimeout(timer);
    this.#settling.clear();
  }

  #send(id: string, result: CommandResult): void {
    this.#options.storage.results.finish(id, result);
    this.#options.answer(id, result);
  }
}

/** Results of commands that may not have arrived; what was begun and not finished has an honest one. */
function owed(results: Results<CommandResult>): [id: string, result: CommandResult][] {
  const interrupted = results.interrupted().map((id): [string, CommandResult] => [id, INTERRUPTED]);
  const unsent = results.unsent().map(({ key, result }): [string, CommandResult] => [key, result]);
  return [...interrupted, ...unsent].filter(([id]) => isCommand(id));
}
