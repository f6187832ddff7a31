// Stands in for the real register: sees BullMQ's files as they compile and writes what is recorded to file descriptor 3.
import { writeSync } from 'node:fs';
import Module from 'node:module';
import { bullmqPatch } from '../../../dist/instrumentations/bullmq/patch.js';
import { hub } from '../../../dist/src/hub.js';

const tell = (line) => writeSync(3, `${JSON.stringify(line)}\n`);
const version = process.env.TEST_VERSION;

hub.recorder = {
  record: (event) => tell({ event }),
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

const compile = Module.prototype._compile;
Module.prototype._compile = function _compile(content, filename, ...rest) {
  const result = Reflect.apply(compile, this, [content, filename, ...rest]);
  if (/[\\/]bullmq[\\/]dist[\\/]cjs[\\/](?:classes[\\/])?[\w-]+\.js$/.test(filename)) {
    const inner = filename.includes('classes');
    hub.offer(bullmqPatch, this.exports, { package: 'bullmq', version, file: filename, inner }, 'compile');
  }
  return result;
};
