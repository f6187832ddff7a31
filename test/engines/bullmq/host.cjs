'use strict';
// An application under test: loads BullMQ as its mode says and plays the scenarios named on the command line at once.
const { createRequire } = require('node:module');
const { connect: connectTo, createServer } = require('node:net');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const scenarios = { ...require('./scenarios.cjs').scenarios, ...require('./commands.cjs').scenarios };

const [folder, mode, port, ...names] = process.argv.slice(2);
const requireThere = createRequire(join(folder, 'index.js'));

async function load() {
  if (mode === 'cjs') return requireThere('bullmq');
  return import(pathToFileURL(requireThere.resolve('bullmq')).href);
}

/** What the application connects with: options for ioredis, a client of node-redis, or a PostgreSQL. */
async function connect(bullmq) {
  const backend = process.env.TEST_BACKEND;
  if (backend === 'node-redis') {
    const client = requireThere('redis').createClient({ url: `redis://127.0.0.1:${port}` });
    await client.connect();
    return client;
  }
  if (backend === 'postgres') {
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
    const client = new (requireThere('pg').Client)(url);
    await client.connect();
    await bullmq.runMigrations(client);
    await client.end();
    bullmq.setDefaultBackendFactory(bullmq.createPostgresBackend);
    return url;
  }
  return { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
}

function context(bullmq, name, connection) {
  const open = [];
  const keep = (object) => {
    open.push(object);
    object.on('error', () => {});
    return object;
  };
  const until = async (condition, what = 'condition') => {
    const end = Date.now() + 20_000;
    while (!(await condition())) {
      if (Date.now() > end) throw new Error(`${name}: not within 20 s: ${typeof what === 'function' ? what() : what}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const ctx = {
    bullmq,
    connection,
    folder,
    requireThere,
    version: process.env.TEST_VERSION,
    major: Number(process.env.TEST_VERSION.split('.')[0]),
    q: name,
    until,
    keep,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    queue: (suffix = '', options = {}) => keep(new bullmq.Queue(name + suffix, { connection, ...options })),
    worker: (processor, options = {}, suffix = '') =>
      keep(new bullmq.Worker(name + suffix, processor, { connection, drainDelay: 1, ...options })),
    /** The Redis client of a queue. */
    client: (queue) => queue.client ?? queue.getBackend().client,
    /** What an operator does: resolves with the result or the refusal. */
    command: async (action, parameters = {}, context = {}) => {
      const began = Date.now();
      const engine = globalThis.engines.get('bullmq');
      const command = {
        id: `c-${name}-${began}`,
        action,
        parameters,
        target: { type: 'task', id: null },
        issuedBy: null,
      };
      try {
        return await engine.execute(command, {
          signal: new AbortController().signal,
          yield: () => new Promise((resolve) => setImmediate(resolve)),
          allowPurge() {},
          excerpt: (text, bytes) => text.slice(-bytes),
          ...context,
        });
      } catch (error) {
        return { refused: error.code ?? String(error.stack), message: error.message };
      }
    },
    stateOf: async (queue, id) => (await (await queue.getJob(id))?.getState()) ?? 'unknown',
    /** How many connections the server has of this process and others. */
    clients: async () => {
      const probe = ctx.probe ?? new bullmq.Queue(`${name}-clients`, { connection });
      if (ctx.probe === undefined) {
        ctx.probe = keep(probe);
        await probe.waitUntilReady();
      }
      const list = await (await ctx.client(probe)).client('LIST');
      return list.trim().split('\n').length;
    },
    flows: (to = connection) => keep(new bullmq.FlowProducer({ connection: to })),
    /** A connection whose replies arrive later, in milliseconds. */
    slowly: async (ms) => {
      const server = createServer((socket) => {
        const there = connectTo(Number(port), '127.0.0.1');
        socket.on('error', () => {}).on('close', () => there.destroy());
        there.on('error', () => {}).on('close', () => socket.destroy());
        socket.pipe(there);
        there.on('data', (chunk) => setTimeout(() => socket.write(chunk), ms));
      });
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
      open.push({ close: async () => server.close() });
      return { ...connection, port: server.address().port };
    },
    /** Waits until the job is in one of the states. */
    state: async (queue, id, ...states) => {
      let state;
      const isThere = async () => {
        state = await ctx.stateOf(queue, id);
        return states.includes(state);
      };
      await until(isThere, () => `${id} is ${states}, but ${state}`);
    },
    async close() {
      await Promise.all(open.map((object) => object.close().catch(() => {})));
    },
  };
  return ctx;
}

load()
  .then(async (bullmq) => {
    const connection = await connect(bullmq);
    const outcomes = await Promise.allSettled(
      names.map(async (name) => {
        const ctx = context(bullmq, name, connection);
        const began = Date.now();
        try {
          const value = await scenarios[name](ctx);
          return { value, ms: Date.now() - began };
        } finally {
          await ctx.close();
        }
      }),
    );
    const report = outcomes.map(({ value, reason }, index) => [
      names[index],
      reason === undefined ? value : { error: String(reason?.stack ?? reason) },
    ]);
    if (process.env.TEST_BACKEND === 'node-redis') await connection.close();
    console.log(JSON.stringify(Object.fromEntries(report)));
  })
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
process.on('unhandledRejection', (error) => {
  console.error('unhandled rejection', error);
  process.exitCode = 3;
});
