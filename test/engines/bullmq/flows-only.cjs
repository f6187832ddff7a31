'use strict';
// A producer that has no queue and no worker: one flow, and it ends.
const { FlowProducer } = require('bullmq');

const flows = new FlowProducer({ connection: { host: '127.0.0.1', port: Number(process.argv[2]) } });
const leaf = { name: 'leaf', queueName: 'below', opts: { jobId: 'leaf' } };
flows.add({ name: 'root', queueName: 'top', opts: { jobId: 'root' }, children: [leaf] }).finally(() => flows.close());
