import { createServer } from 'node:net';

/** A port of the loopback interface that nobody listens on at the moment of the call. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}

export interface WaitOptions {
  /** Milliseconds; default 10 000. */
  readonly timeout?: number;
  /** Milliseconds between two looks; default 25. */
  readonly interval?: number;
  /** What is waited for, for the error's text. A function is called when the time is up. */
  readonly what?: string | (() => string);
}

type Truthy<T> = Exclude<T, undefined | null | false | 0 | ''>;

/**
 * Looks until `condition` gives something truthy and resolves with it. A condition that throws counts as not yet;
 * the last error is the cause of the one thrown when the time is up.
 */
export async function waitFor<T>(condition: () => T | Promise<T>, options: WaitOptions = {}): Promise<Truthy<T>> {
  const { timeout = 10_000, interval = 25, what = String(condition).slice(0, 200) } = options;
  const end = Date.now() + timeout;
  let cause: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value as Truthy<T>;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (Date.now() >= end) break;
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
  const text = typeof what === 'function' ? what() : what;
  throw new Error(`Not within ${timeout} ms: ${text}`, cause === undefined ? undefined : { cause });
}
