// A neighbour with copies of its own of import-in-the-middle and require-in-the-middle, which wraps what it sees.
import * as module from 'node:module';

const require = module.createRequire(import.meta.url);
if (process.env.CELL_IITM === 'sync') {
  const { register } = await import('import-in-the-middle/register-hooks.mjs');
  register();
} else module.register('import-in-the-middle/hook.mjs', import.meta.url);

const { Hook: ImportHook } = await import('import-in-the-middle');
const { Hook: RequireHook } = require('require-in-the-middle');

const seen = new Set();
const wrapped = new WeakSet();
const onLoad = (exports, name) => {
  seen.add(name);
  const { Worker } = exports;
  if (Worker?.prototype && !wrapped.has(Worker)) {
    wrapped.add(Worker);
    const { run } = Worker.prototype;
    Worker.prototype.run = function neighbour(...args) {
      return run.apply(this, args);
    };
  }
  return exports;
};
const names = ['bullmq', 'agenda', 'node-cron'];
new ImportHook(names, (exports, name) => void onLoad(exports, name));
new RequireHook(names, onLoad);
process.on('exit', () => console.log(`neighbour ${JSON.stringify([...seen].sort())}`));
