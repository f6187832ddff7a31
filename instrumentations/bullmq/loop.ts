import { wrap } from '../common.js';
import type { ForeignWorker } from './foreign.js';
import { registry } from './registry.js';

/** The fetch a worker's loop is about to wait for. */
let fetching: { readonly worker: ForeignWorker; readonly promise: unknown } | undefined;

/** From 5.41 to 6.3 the loop keeps what it waits on to itself: it is known by the first promise it is given. */
export function patchAsyncFifoQueue(AsyncFifoQueue: { readonly prototype: object }): void {
  wrap(
    AsyncFifoQueue.prototype,
    'add',
    (stands) =>
      function add(this: unknown, ...args) {
        if (fetching !== undefined && fetching.promise === args[0]) {
          registry.fifos.set(fetching.worker, this as object);
          fetching = undefined;
        }
        return stands.apply(this, args);
      },
  );
}

export function patchWorkerLoop({ prototype }: { readonly prototype: object }): void {
  wrap(
    prototype,
    'retryIfFailed',
    (stands) =>
      function retryIfFailed(this: unknown, ...args) {
        const worker = this as ForeignWorker;
        const promise = stands.apply(worker, args);
        if (!registry.fifos.has(worker) && !worker.closing) fetching = { worker, promise };
        return promise;
      },
  );
}
