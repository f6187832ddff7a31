import { EVENT_KINDS } from '../dispatcher.js';

/** Not a kind: an operator acts on the task. */
export const TOUCHED = -1;

/** `RecordMeta.kind` of the events that decide. */
export const SENT = EVENT_KINDS.indexOf('task.sent');
export const RECEIVED = EVENT_KINDS.indexOf('task.received');
export const STARTED = EVENT_KINDS.indexOf('task.started');
export const SUCCEEDED = EVENT_KINDS.indexOf('task.succeeded');
