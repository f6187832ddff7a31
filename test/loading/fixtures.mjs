/** The libraries of most cells. */
export const MAIN = { bullmq: '5.81.5', ioredis: '5', agenda: '6.2.6', 'node-cron': '4.6.0' };

const BACKEND = { '@agendajs/redis-backend': '3.0.7' };

/** Folders of libraries, by the name a cell calls them. */
export const FIXTURES = {
  main: MAIN,
  opentelemetry: {
    '@opentelemetry/auto-instrumentations-node': '0.82.0',
    '@opentelemetry/api': '1.10.0',
    ...BACKEND,
    ...MAIN,
  },
  sentry: { '@sentry/node': '11.12.0', ...BACKEND, ...MAIN },
  datadog: { 'dd-trace': '6.21.0', ...BACKEND, ...MAIN },
  iitm: { 'import-in-the-middle': '3.6.0', 'require-in-the-middle': '8.0.1', ...MAIN },
  managers: { pnpm: '10.34.8', yarn: '1.22.22', '@yarnpkg/cli-dist': '4.18.1' },
  nest: {
    '@nestjs/bullmq': '12.0.0',
    '@nestjs/common': '12.5.1',
    '@nestjs/core': '12.5.1',
    'reflect-metadata': '0.2.2',
    rxjs: '7.8.2',
    ...MAIN,
  },
  pm2: { pm2: '7', ...MAIN },
  runners: { tsx: '4.23.15', 'ts-node': '10.9.2', typescript: '5.9.3', vitest: '4.1.12', jest: '30', ...MAIN },
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
  DD_TRACE_LOG_LEVEL: 'error',
};

/** What a cell's neighbour is told; `none` for the exporter of the others switches Datadog's tracing off. */
export const quietly = (fixture) => (fixture === 'datadog' ? { ...QUIET, OTEL_TRACES_EXPORTER: '' } : QUIET);
