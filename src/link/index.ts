export { Backoff, type BackoffOptions } from './backoff.js';
export { LinkError, type LinkErrorCode } from './errors.js';
export { Link } from './link.js';
export type * from './link-types.js';
export type { CommandAnswer } from './outbox.js';
export type { Selection, Standing } from './outflow.js';
export { type BrainAddress, brainAddress, isLoopback } from './url.js';
