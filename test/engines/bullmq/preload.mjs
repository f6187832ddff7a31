// Stands in for the real register: sees BullMQ's files as they compile and appends what is recorded to a file.
import { appendFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { bullmqPatch } from '../../../dist/instrumentations/bullmq/patch.js';
import { hub } from '../../../dist/src/register.js';

const { pid } = process;
const tell = (line) => appendFileSync(process.env.TEST_EVENTS, `${JSON.stringify({ ...line, pid })}\n`);

globalThis.recorded = [];

hub.recorder = {
  record(event) {
    if (process.env.TEST_SINK === 'throws') throw new Error('the sink is broken');
    globalThis.recorded.push(event);
    tell({ event });
  },
  engine(engine) {
    tell({ engine: engine.name });
    globalThis.engines ??= new Map();
    globalThis.engines.set(engine.name, engine);
    engine.start({
      workerName: (queue) => `test:${queue}`,
      record: (event) => tell({ event }),
      inventoryChanged() {},
      warn: (cause, message) => tell({ warn: message, cause }),
      slot: 0,
    });
  },
};
hub.onTarget = ({ file, outcome, error }) => tell({ target: file, outcome, error: error && String(error.stack) });
process.on('warning', (warning) => {
  if (warning.message.startsWith('z4j')) tell({ warning: warning.message });
});

const seen = [];
const offer = (file, exports, eye) => {
  const version = createRequire(file)(file.replace(/(?<=[\\/]bullmq[\\/])dist[\\/].*/, 'package.json')).version;
  hub.offer(bullmqPatch, exports, { package: 'bullmq', version, file, inner: file.includes('classes') }, eye);
};
// Every module is offered by two eyes: whoever comes second must change nothing.
globalThis.sweep = () => {
  for (const [file, exports] of seen) offer(file, exports, 'cache');
};

const compile = Module.prototype._compile;
Module.prototype._compile = function _compile(content, filename, ...rest) {
  const result = Reflect.apply(compile, this, [content, filename, ...rest]);
  if (/[\\/]bullmq[\\/]dist[\\/]cjs[\\/](?:classes[\\/])?[\w-]+\.js$/.test(filename)) {
    seen.push([filename, this.exports]);
    if (!process.env.TEST_LATE) {
      offer(filename, this.exports, 'compile');
      offer(filename, this.exports, 'cache');
    }
  }
  return result;
};
