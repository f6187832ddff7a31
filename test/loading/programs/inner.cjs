exports.bullmq = require('bullmq');
exports.cron = require('node-cron');
