import { AsyncResource } from 'node:async_hooks';
import { createRequire } from 'node:module';

const newContext = (): AsyncResource => new AsyncResource('Z4J', { requireManualDestroy: true });

/** The context at load: outside of any request of the host. */
const atLoad = newContext();

/**
 * In a context of its own each time: before Node 24 whatever `fn` sets in a store would be seen by all that run in the
 * context at load meanwhile, also by what is called from `fn` to be outside.
 */
function outside<T>(fn: () => T): T {
  return atLoad.runInAsyncScope(newContext).runInAsyncScope(fn);
}

type Around = <T>(fn: () => T) => T;
type Keyed = { readonly [key: PropertyKey]: unknown };

const OTEL = Symbol.for('opentelemetry.js.api.1');
const OTEL_SUPPRESS = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');

interface OtelContext {
  setValue(key: symbol, value: unknown): OtelContext;
}

interface OtelContextManager {
  active(): OtelContext;
  with<T>(context: OtelContext, fn: () => T): T;
}

function openTelemetry(): Around | undefined {
  const manager = ((globalThis as Keyed)[OTEL] as { readonly context?: OtelContextManager } | undefined)?.context;
  return manager && ((fn) => manager.with(manager.active().setValue(OTEL_SUPPRESS, true), fn));
}

interface SentryStrategy {
  suppressTracing?<T>(fn: () => T): T;
  withScope?<T>(fn: (scope: { setSDKProcessingMetadata?(data: object): unknown }) => T): T;
}

/** As its `suppressTracing`, which is reached through its carrier: it need not be in `require.cache`. */
function sentry(): Around | undefined {
  const carrier = (globalThis as { __SENTRY__?: Keyed & { readonly version?: string } }).__SENTRY__;
  const strategy = (carrier?.[carrier.version ?? ''] as { readonly acs?: SentryStrategy } | undefined)?.acs;
  if (strategy?.suppressTracing !== undefined) return (fn) => strategy.suppressTracing?.(fn) as ReturnType<typeof fn>;
  if (strategy?.withScope === undefined) return undefined;
  return (fn) =>
    strategy.withScope?.((scope) => {
      scope.setSDKProcessingMetadata?.({ __SENTRY_SUPPRESS_TRACING__: true });
      return fn();
    }) as ReturnType<typeof fn>;
}

interface DatadogStorage {
  run<T>(store: object, fn: () => T): T;
}

const DATADOG = Symbol.for('dd-trace');
const DATADOG_STORAGE = /[\\/]dd-trace[\\/]packages[\\/]datadog-core[\\/]src[\\/]storage\.js$/;

let datadogStorage: DatadogStorage | null | undefined;

/** It has no public switch; what it sets around its own requests is a store of its own storage. */
function datadog(): Around | undefined {
  if ((globalThis as Keyed)[DATADOG] === undefined) return undefined;
  if (datadogStorage === undefined) {
    const { cache } = createRequire(import.meta.url);
    const file = Object.keys(cache ?? {}).find((path) => DATADOG_STORAGE.test(path));
    const exports = file === undefined ? undefined : (cache[file]?.exports as { storage?: unknown } | undefined);
    const storage = exports?.storage;
    datadogStorage = typeof storage === 'function' ? (storage('legacy') as DatadogStorage) : null;
  }
  const found = datadogStorage;
  return found === null ? undefined : (fn) => found.run({ noop: true }, fn);
}

const TRACERS = [openTelemetry, sentry, datadog];

/**
 * Runs our own I/O where the host's traces and stores do not see it: outside the host's asynchronous context, and with
 * tracing suppressed where OpenTelemetry, Sentry or Datadog are there. They are looked up, never loaded, and each time:
 * an SDK may start after a connection of ours was opened. No store of our own is used: before Node 24 the first one makes
 * every promise of the process dearer.
 */
export function quietly<T>(fn: () => T): T {
  return outside(() => {
    let run = fn;
    for (const find of TRACERS) {
      const around = find();
      const inner = run;
      if (around !== undefined) run = () => around(inner);
    }
    return run();
  });
}

/** Whether `quietly` suppresses anything at present, beside leaving the host's context. */
export const isTraced = (): boolean => TRACERS.some((find) => find() !== undefined);

/** Runs what an operator asked of the host's own code where the host sees it as its own, in no request. */
export function asHost<T>(fn: () => T): T {
  return outside(fn);
}
