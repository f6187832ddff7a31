/** The parts of a registered OpenTelemetry API that hide our own broker calls from the host's traces. */
interface Context {
  setValue(key: symbol, value: unknown): Context;
}
interface Telemetry {
  readonly context?: { active(): Context; with<T>(context: Context, run: () => T): T };
}

const TELEMETRY = Symbol.for('opentelemetry.js.api.1');
const SUPPRESS = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');

/** Runs a broker call of our own so that the host's instrumentations make no span of it. */
export function quietly<T>(run: () => T): T {
  const context = (globalThis as { [TELEMETRY]?: Telemetry })[TELEMETRY]?.context;
  return context === undefined ? run() : context.with(context.active().setValue(SUPPRESS, true), run);
}

/** Observes how a call of the host ends; the host keeps its own promise, and rejections stay its own affair. */
export function watch<T>(result: unknown, ended: (value: T) => void, refused: (error: unknown) => void = ignore): void {
  if (result instanceof Promise || typeof (result as { then?: unknown } | null)?.then === 'function') {
    (result as Promise<T>).then(ended, refused);
  }
}

export function ignore(): void {}
