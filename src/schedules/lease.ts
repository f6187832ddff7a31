import { randomUUID } from 'node:crypto';
import type { SchedulesMemory } from '../engine.js';
import type { TextStore } from './memory.js';

/** What is known of whoever publishes an owner's schedules: `unknown` where nobody left a word. */
export type Standing = 'held' | 'free' | 'unknown';

export interface LeaseOptions {
  readonly owner: string;
  /** For siblings of the host. */
  readonly home: TextStore;
  /** For all others; undefined while there is no broker. */
  readonly broker: () => SchedulesMemory | undefined;
  /** Who does not renew it for so long is dead, in milliseconds. */
  readonly staleMs: number;
}

/** A text as it was seen last, and since when. */
interface Seen {
  readonly text: string | undefined;
  readonly since: number;
}

/**
 * A word of whoever publishes the schedules of an owner, for those that stand by: a brain tells nobody that a stream has
 * become free. Clocks are not compared: a word that does not change is of a dead one.
 */
export class Lease {
  readonly #options: LeaseOptions;
  readonly #key: string;
  readonly #holder = randomUUID();
  #beat = 0;
  #home: Seen | undefined;
  #broker: Seen | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#key = `lease:${options.owner}`;
  }

  /** Says that it is held. Never rejects. */
  renew(): void {
    this.#beat += 1;
    this.#tell(false);
  }

  /** Says goodbye: the next may take over at once. */
  release(): void {
    this.#tell(true);
  }

  #tell(gone: boolean): void {
    const text = JSON.stringify({ holder: this.#holder, beat: this.#beat, gone });
    const { home, broker } = this.#options;
    home.set(this.#key, text);
    // The other place may know; without it, a standby tries now and then.
    Promise.resolve()
      .then(() => broker()?.save(text))
      .catch(() => undefined);
  }

  async look(): Promise<Standing> {
    const { home, broker, staleMs } = this.#options;
    const text = await Promise.resolve()
      .then(() => broker()?.load())
      .catch(() => undefined);
    this.#home = seen(this.#home, home.get(this.#key));
    this.#broker = seen(this.#broker, text);
    const found = [this.#home, this.#broker].map((one) => standing(one, staleMs));
    return found.find((one) => one === 'held') ?? found.find((one) => one === 'free') ?? 'unknown';
  }
}

const seen = (before: Seen | undefined, text: string | undefined): Seen =>
  before !== undefined && before.text === text ? before : { text, since: Date.now() };

function standing({ text, since }: Seen, staleMs: number): Standing {
  if (text === undefined) return 'unknown';
  return text.endsWith('"gone":true}') || Date.now() - since >= staleMs ? 'free' : 'held';
}
