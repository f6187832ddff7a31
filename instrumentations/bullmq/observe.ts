import { hub } from '../../src/engine.js';
import { wrap } from '../common.js';

/** Observes how a call of the host ends; the host keeps its own promise, and rejections stay its own affair. */
export function watch<T>(result: unknown, ended: (value: T) => void, refused: (error: unknown) => void = ignore): void {
  if (result instanceof Promise || typeof (result as { then?: unknown } | null)?.then === 'function') {
    (result as Promise<T>).then(ended, refused);
  }
}

export function ignore(): void {}

/**
 * Wraps a method whose end is told: `begin` is asked before the call for the function that hears of its result. Nothing
 * happens while nobody listens. Both must be guarded, or unable to throw.
 */
export function observe<S>(
  holder: object,
  name: string,
  begin: (self: S, args: readonly unknown[]) => (value: unknown) => void,
): void {
  wrap(
    holder,
    name,
    (stands) =>
      function (this: unknown, ...args) {
        if (hub.recorder === undefined) return stands.apply(this, args);
        const ended = begin(this as S, args);
        const result = stands.apply(this, args);
        watch(result, ended);
        return result;
      },
  );
}
