import { createHash } from 'node:crypto';
import http from 'node:http';
import { createRequire } from 'node:module';

const WRAPPED = Symbol.for('z4j.bare.wrapped');
const require = createRequire(import.meta.url);

const METHODS = {
  Worker: ['run', 'processJob', 'callProcessJob', 'getNextJob', 'close'],
  Queue: ['add', 'addBulk', 'addJob', 'remove'],
  Job: ['addJob', 'moveToCompleted', 'moveToFailed', 'remove'],
  Agenda: ['now', 'every', 'start', 'create', 'define'],
  Redis: ['sendCommand', 'connect'],
  Server: ['emit'],
};

/**
 * What is left of a function's other wrappers when ours is taken off: equal to a run without us, or a neighbour lost
 * something.
 */
function mark(fn) {
  if (typeof fn !== 'function') return 'none';
  const peeled = fn[WRAPPED] ?? fn;
  return `${createHash('sha1').update(String(peeled)).digest('hex').slice(0, 8)}${peeled.__wrapped ? ' wrapped' : ''}`;
}

function marksOf(libraries) {
  const marks = { 'http.request': mark(http.request), 'http.get': mark(http.get) };
  const classes = { ...libraries, Server: http.Server };
  try {
    classes.Redis = require('ioredis');
  } catch {
    // Not among the libraries of this cell.
  }
  for (const [name, methods] of Object.entries(METHODS)) {
    for (const method of methods) marks[`${name}.${method}`] = mark(classes[name]?.prototype?.[method]);
  }
  for (const name of ['schedule', 'createTask']) marks[`cron.${name}`] = mark(libraries.cron?.[name]);
  return marks;
}

/**
 * Ends every program of the matrix: one run of a task, and a line that says how it went. The process then ends by
 * itself.
 *
 * @param libraries what the program loaded: `createTask`, `cron`, and classes of BullMQ and Agenda by name
 * @param checks names and outcomes of the program's own assertions
 */
export async function finish(libraries, checks = {}) {
  const ran = [];
  const results = {};
  if (libraries.createTask) {
    const task = libraries.createTask(
      '0 0 1 1 *',
      (context) => {
        ran.push(context.triggeredAt instanceof Date);
        return 42;
      },
      { name: 'yearly' },
    );
    results.run = (await task.execute()) === 42 && ran.length === 1;
    await task.destroy();
  }
  for (const name of ['Worker', 'Queue', 'Job', 'Agenda']) {
    if (libraries[name]) results[name] = typeof libraries[name] === 'function' && libraries[name].name === name;
  }
  console.log(`done ${JSON.stringify({ checks: { ...results, ...checks }, marks: marksOf(libraries) })}`);
}
