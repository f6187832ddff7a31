// A host whose jobs hold what cannot be printed: it tells all that it sees of them.
const { Queue, Worker } = require('bullmq');

const connection = { host: '127.0.0.1', port: Number(process.argv[2]), maxRetriesPerRequest: null };
const thrower = (message) => () => {
  throw new Error(message);
};
const cyclic = {};
cyclic.self = cyclic;
const causal = new Error('causal');
causal.cause = causal;

const DATA = {
  plain: { n: 1, password: 'hunter2' },
  cyclic,
  bigint: { n: 10n },
  getter: {
    get n() {
      return thrower('getter')();
    },
  },
  toJSON: { toJSON: thrower('toJSON') },
  proxy: new Proxy({}, { ownKeys: thrower('ownKeys') }),
  huge: { text: 'x'.repeat(3_000_000) },
  wide: Object.fromEntries(Array.from({ length: 20_000 }, (_, n) => [`k${n}`, n])),
  odd: { a: Number.NaN, b: Number.NEGATIVE_INFINITY, c: -0, d: new Date(Number.NaN), e: '\ud800\u0000' },
  names: JSON.parse('{"__proto__":{"a":1},"constructor":1,"hasOwnProperty":2,"toString":null}'),
  nothing: undefined,
  symbol: Symbol('s'),
};
const THROWN = {
  text: 'a text',
  symbol: Symbol('s'),
  message: { message: 3 },
  frozen: Object.freeze(new Error('frozen')),
  stack: Object.assign(new Error('stack'), { stack: { toString: thrower('inner') } }),
  causal,
};
const RETURNED = { cyclic, bigint: 1n, huge: 'y'.repeat(2_000_000), fn: thrower('never'), nothing: undefined };

async function main() {
  const name = `bad-input-${process.pid}`;
  const queue = new Queue(name, { connection });
  const jobs = process.argv[3] === 'settings' ? ['plain'] : Object.keys(DATA);
  for (const key of jobs) {
    const said = await queue.add(key, DATA[key]).then(
      (job) => `added ${key} as ${job.id}`,
      (error) => `add ${key}: ${String(error?.message).split('\n')[0]}`,
    );
    console.log(said);
  }
  if (process.argv[3] !== 'settings') {
    await queue.drain();
    await queue.addBulk([
      ...Object.keys(THROWN).map((key) => ({ name: `throw ${key}`, data: {} })),
      ...Object.keys(RETURNED).map((key) => ({ name: `return ${key}`, data: {} })),
    ]);
  }
  let left = (await queue.getJobCounts('waiting')).waiting;
  await new Promise((resolve) => {
    const worker = new Worker(
      name,
      async (job) => {
        const [verb, key] = job.name.split(' ');
        if (verb === 'throw') throw THROWN[key];
        return verb === 'return' ? RETURNED[key] : job.data.n;
      },
      { connection },
    );
    const seen = (text) => {
      console.log(text);
      if (--left === 0) resolve(worker.close());
    };
    worker.on('completed', (job, value) => seen(`completed ${job.name}: ${typeof value}`));
    worker.on('failed', (job, error) => seen(`failed ${job.name}: ${String(error?.message).split('\n')[0]}`));
    worker.on('error', (error) => console.log(`error ${String(error?.message)}`));
  });
  await queue.obliterate({ force: true });
  await queue.close();
  process.exitCode = 7;
}

main();
