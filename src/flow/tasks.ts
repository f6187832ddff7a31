// What is known of a task, added up.

/** It was enqueued by this process, since tasks are watched. */
export const HERE = 1;
/** It succeeded. */
export const ENDED = 2;
/** It is always sent. */
export const REMARKABLE = 4;
/** Something of it was sent before its end was known. */
export const TOLD = 8;
/** It is in the share, or outside, for good. */
export const WHOLE = 16;
export const OUT = 32;
/** Its `task.received` was read and it was not started since; valid for one connection, whose number stands above. */
export const READ = 64;
const CONNECTION_BITS = 7;
const FACTS = (1 << CONNECTION_BITS) - 1;
const CONNECTIONS = 0xffff;

/** Remembers the latest tasks by their hash; of one that was forgotten nothing is known, and 0 is returned. */
export class Tasks {
  readonly #half: number;
  // Two halves: a Map that is emptied from its front gets slow.
  #young = new Map<number, number>();
  #old = new Map<number, number>();
  #connection = 0;

  /** `max`: tasks to remember; about 50 bytes each. */
  constructor(max: number) {
    this.#half = max / 2;
  }

  get(task: number): number {
    const facts = this.#young.get(task) ?? this.#old.get(task) ?? 0;
    return (facts & READ) !== 0 && facts >> CONNECTION_BITS !== this.#connection ? facts & ~READ : facts;
  }

  set(task: number, facts: number): void {
    if (this.#young.size >= this.#half) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(task, (facts & FACTS) | (this.#connection << CONNECTION_BITS));
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
  }

  /** What was read is read again. */
  reread(): void {
    this.#connection = (this.#connection + 1) & CONNECTIONS;
  }
}
