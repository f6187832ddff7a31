import { AsyncLocalStorage } from 'node:async_hooks';

/** The context at load: outside of any request of the host. */
const outside = AsyncLocalStorage.snapshot();

const SUPPRESS_TRACING = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');

interface OtelContext {
  setValue(key: symbol, value: unknown): OtelContext;
}

interface OtelContextManager {
  active(): OtelContext;
  with<T>(context: OtelContext, fn: () => T): T;
}

/**
 * Runs our own I/O where the host's traces and stores do not see it: outside the host's asynchronous context and,
 * when OpenTelemetry is there, with tracing suppressed. The API is looked up, never loaded.
 */
export function quietly<T>(fn: () => T): T {
  return outside(() => {
    const api = (globalThis as { [key: symbol]: unknown })[Symbol.for('opentelemetry.js.api.1')] as
      | { readonly context?: OtelContextManager }
      | undefined;
    const manager = api?.context;
    if (manager === undefined) return fn();
    return manager.with(manager.active().setValue(SUPPRESS_TRACING, true), fn);
  });
}
