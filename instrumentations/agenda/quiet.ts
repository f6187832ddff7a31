import { AsyncLocalStorage } from 'node:async_hooks';
import { isTraced, quietly as outsideTraces } from '../../src/engine.js';

const quiet = new AsyncLocalStorage<true>();

/**
 * Runs work of ours where the host's traces do not see it, and where `isQuiet` tells it from the host's. Without traces
 * there is nothing to tell apart, and before Node 24 a store makes every promise of the process dearer from its first use on.
 */
export function quietly<T>(fn: () => T): T {
  return outsideTraces(() => (isTraced() ? quiet.run(true, fn) : fn()));
}

/** Whether this is work of ours, kept from traces: what an agenda does meanwhile, it does as the host. */
export const isQuiet = (): boolean => quiet.getStore() === true;
