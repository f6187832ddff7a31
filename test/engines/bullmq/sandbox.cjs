'use strict';
const { createRequire } = require('node:module');
const { join } = require('node:path');

module.exports = async ({ data }) => {
  if (data.crash) process.exit(7);
  if (data.sleep) await new Promise((resolve) => setTimeout(resolve, data.sleep));
  if (data.add) {
    const { Queue } = createRequire(join(data.add.folder, 'index.js'))('bullmq');
    const queue = new Queue(data.add.queue, { connection: data.add.connection });
    await queue.add('from a sandbox', {});
    await queue.close();
  }
  return data.n;
};
