import type { ForeignJob } from './foreign.js';
import type { Run } from './registry.js';

/** Gives `this` of a derived class an object that exists. */
class Given {
  constructor(job: ForeignJob) {
    // biome-ignore lint/correctness/noConstructorReturn: it is what the class is for.
    return job;
  }
}

/**
 * The last run of a job, kept in a private field of the job, which nobody else can see: an entry in a `WeakMap` for
 * every job is a tenth of what the agent costs.
 */
class Holder extends Given {
  #run: Run | undefined;

  static has(job: unknown): job is Holder {
    return typeof job === 'object' && job !== null && #run in job;
  }

  static get(job: unknown): Run | undefined {
    return Holder.has(job) ? job.#run : undefined;
  }

  static set(job: ForeignJob, run: Run): void {
    const holder: Holder = Holder.has(job) ? job : new Holder(job);
    holder.#run = run;
  }
}

/** Runs by job; never keeps a job alive. `get` takes whatever the host has in place of a job. */
export class Runs {
  /** Of jobs that take no new fields. */
  readonly #sealed = new WeakMap<ForeignJob, Run>();

  get(job: ForeignJob): Run | undefined {
    return Holder.get(job) ?? this.#sealed.get(job);
  }

  set(job: ForeignJob, run: Run): void {
    if (Holder.has(job) || Object.isExtensible(job)) Holder.set(job, run);
    else this.#sealed.set(job, run);
  }
}
