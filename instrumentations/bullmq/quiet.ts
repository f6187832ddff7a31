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
