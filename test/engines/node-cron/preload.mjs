/**
 * `--import` of the hosts under test: the eyes of the package as its register.mjs installs them, and instead of the
 * agent a recorder that prints. A line is `@z4j ` and JSON.
 */
import { hub, register } from '../../../dist/src/register.js';

const print = (line) => process.stdout.write(`@z4j ${JSON.stringify(line)}\n`);

// The reader knows by it that nothing is still on its way.
process.on('exit', () => print({ end: true }));

register();
// What would start the agent.
hub.enabled = () => true;
hub.onLive = undefined;
hub.onTarget = ({ error, ...report }) => print({ report: { ...report, ...(error && { error: String(error.stack) }) } });
hub.recorder = {
  record: (event) => print({ event }),
  engine: (engine) =>
    engine.start({
      workerName: (queue) => (queue === '' ? 'test' : `test:${queue}`),
      record: (event) => print({ event }),
      inventoryChanged: () => {},
      warn: (cause, message) => print({ warning: { cause, message } }),
      slot: 0,
    }),
};

const context = {
  signal: new AbortController().signal,
  yield: () => new Promise(setImmediate),
  allowPurge: () => {},
  excerpt: (text, bytes) => text.slice(-bytes),
};

/** What the hosts use of the agent. */
globalThis.z4j = {
  hub,
  print,
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  engine: (name) => hub.engines.get(name),
  execute: (name, action, parameters) =>
    hub.engines
      .get(name)
      .execute({ id: action, action, parameters, target: { type: '', id: null }, issuedBy: null }, context),
  async rows(name, label) {
    print({ rows: { label, list: await hub.engines.get(name).scheduler.list() } });
  },
};
