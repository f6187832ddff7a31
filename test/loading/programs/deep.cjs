const { Worker } = require('bullmq/dist/cjs/classes/worker');

import('./finish.mjs').then(({ finish }) => finish({ Worker }));
