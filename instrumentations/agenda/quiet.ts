import { AsyncLocalStorage } from 'node:async_hooks';
import { quietly as outsideTraces } from '../../src/engine.js';

const quiet = new AsyncLocalStorage<true>();

/** Runs work of ours where the host's traces do not see it, and where `isQuiet` tells it from the host's. */
export function quietly<T>(fn: () => T): T {
  return outsideTraces(() => quiet.run(true, fn));
}

/** Whether this is work of ours: what an agenda does meanwhile, it does as the host. */
export const isQuiet = (): boolean => quiet.getStore() === true;
