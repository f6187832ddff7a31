/** The answer to a command. */
export interface CommandAnswer {
  readonly status: 'success' | 'failed';
  /** Any JSON. */
  readonly result: unknown;
  /** Shown to the operator; cut at 8192 characters. */
  readonly error: string | null;
}

/** A result on its way. */
export interface PendingResult {
  readonly id: string;
  readonly answer: CommandAnswer;
  readonly claimToken: string | null;
  /** Milliseconds; when it was made. */
  readonly at: number;
  /** Milliseconds; when a live socket took it. */
  writtenAt: number | undefined;
}

/** A brain forgets a command a minute after it was sent. */
const KEEP_MS = 60_000;
const MAX_RESULTS = 1000;

/** Results of commands until it is certain that a brain had the chance to read them; outlives connections. */
export class Outbox {
  #results: PendingResult[] = [];

  add(id: string, answer: CommandAnswer, claimToken: string | null, now: number): void {
    this.#expire(now);
    this.#results.push({ id, answer, claimToken, at: now, writtenAt: undefined });
    if (this.#results.length > MAX_RESULTS) this.#results.shift();
  }

  /** Those no socket has taken yet, oldest first. */
  unwritten(): readonly PendingResult[] {
    return this.#results.filter((result) => result.writtenAt === undefined);
  }

  /** A new connection: what the last one was given may have been lost with it; twice does no harm. */
  reopen(now: number): void {
    this.#expire(now);
    for (const result of this.#results) result.writtenAt = undefined;
  }

  get empty(): boolean {
    return this.#results.every((result) => result.writtenAt !== undefined);
  }

  #expire(now: number): void {
    this.#results = this.#results.filter(({ at, writtenAt }) => now - (writtenAt ?? at) < KEEP_MS);
  }
}
