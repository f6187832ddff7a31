/** The libraries of most cells. */
export const MAIN = { bullmq: '5.81.5', ioredis: '5', agenda: '6.2.6', 'node-cron': '4.6.0' };

/** Packages of the neighbours and the flags that start them, as their documentation says. */
export const NEIGHBOURS = {
  opentelemetry: {
    packages: { '@opentelemetry/auto-instrumentations-node': '0.82.0', '@opentelemetry/api': '1.10.0', ...MAIN },
    flags: ['--import', '@opentelemetry/auto-instrumentations-node/build/src/register.js'],
  },
  sentry: {
    packages: { '@sentry/node': '11.12.0', ...MAIN },
    flags: ['--import', '@sentry/node/build/import-hook.mjs'],
  },
  datadog: {
    packages: { 'dd-trace': '6.21.0', ...MAIN },
    flags: ['--import', 'dd-trace/initialize.mjs'],
  },
};

/** Keeps exporters and agents of the neighbours off the network. */
export const QUIET = {
  OTEL_TRACES_EXPORTER: 'none',
  OTEL_METRICS_EXPORTER: 'none',
  OTEL_LOGS_EXPORTER: 'none',
  OTEL_NODE_RESOURCE_DETECTORS: 'none',
  DD_INSTRUMENTATION_TELEMETRY_ENABLED: 'false',
  DD_REMOTE_CONFIGURATION_ENABLED: 'false',
  DD_TRACE_AGENT_PORT: '9',
  DD_TRACE_STARTUP_LOGS: 'false',
  SENTRY_DSN: '',
};
