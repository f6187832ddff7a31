/** The two ways to a job's document: the repository of 6, and the collection of 3–5 and hokify. */
import { type Attrs, type Collection, type ForeignAgenda, type ForeignId, idOf, isRecurring } from './foreign.js';
import { stateOf } from './map.js';

export interface Store {
  get(id: string): Promise<Attrs | undefined>;
  /** One job of a name. */
  named(name: string): Promise<Attrs | undefined>;
  /** All that recur; rejects rather than telling a part. */
  recurring(known: ReadonlySet<string>): Promise<Attrs[]>;
  /** One-shot jobs that failed for good, newest first. */
  failed(name: string | undefined): Promise<Attrs[]>;
  /** One-shot jobs of a name that wait for their run and are reserved by nobody. */
  pending(name: string): Promise<Attrs[]>;
  /** Due jobs by name. */
  depths(names: readonly string[]): Promise<Record<string, number>>;
  /** Makes a job due at a time with a fresh retry budget; false when it was taken by somebody meanwhile. */
  reset(attrs: Attrs, nextRunAt: Date): Promise<boolean>;
  /** Removes what is reserved by nobody; resolves with the number of jobs removed. */
  remove(jobs: readonly Attrs[]): Promise<number>;
  /** Writes the plan, data or switch of a recurring job, and nothing else. */
  write(attrs: Attrs, change: Partial<Attrs>): Promise<void>;
}

const newest = (jobs: Attrs[]): Attrs[] => jobs.sort((a, b) => Number(b.failedAt ?? 0) - Number(a.failedAt ?? 0));
const isFailed = (attrs: Attrs): boolean => !isRecurring(attrs) && stateOf(attrs, Date.now()) === 'failed';
const isPending = (attrs: Attrs): boolean =>
  !isRecurring(attrs) && ['scheduled', 'queued', 'paused'].includes(stateOf(attrs, Date.now()));

/** How long a list of ids serves before everything is read again: a backend of 6 cannot ask for what recurs. */
const FULL_EVERY = 60_000;

function repositoryStore(agenda: ForeignAgenda, db: NonNullable<ForeignAgenda['db']>): Store {
  let ids: ReadonlySet<string> | undefined;
  let fullAt = 0;
  return {
    async get(id) {
      try {
        return (await db.getJobById(id)) ?? undefined;
      } catch (cause) {
        // PostgreSQL: no uuid.
        if ((cause as { code?: unknown }).code === '22P02' || /ObjectId|hex string/.test(String(cause)))
          return undefined;
        throw cause;
      }
    },
    async named(name) {
      return (await db.queryJobs({ name })).jobs[0];
    },
    async recurring(known) {
      const fresh = ids === undefined || Date.now() - fullAt > FULL_EVERY;
      const wanted = fresh ? [] : [...new Set([...(ids ?? []), ...known])];
      if (!fresh && wanted.length === 0) return [];
      const { jobs } = await db.queryJobs(fresh ? {} : { ids: wanted });
      const found = jobs.filter(isRecurring);
      if (fresh) fullAt = Date.now();
      ids = new Set(found.flatMap((attrs) => idOf(attrs) ?? []));
      return found;
    },
    async failed(name) {
      const { jobs } = await db.queryJobs({ state: 'failed', ...(name === undefined ? {} : { name }) });
      return newest(jobs.filter(isFailed));
    },
    async pending(name) {
      const { jobs } = await db.queryJobs({ name });
      return jobs.filter(isPending);
    },
    async depths(names) {
      const { jobs } = await db.queryJobs({});
      const depths: Record<string, number> = Object.fromEntries(names.map((name) => [name, 0]));
      const now = Date.now();
      for (const job of jobs) {
        if (stateOf(job, now) === 'queued') depths[job.name] = (depths[job.name] ?? 0) + 1;
      }
      return depths;
    },
    async reset(attrs, nextRunAt) {
      await db.saveJobState({ ...attrs, nextRunAt, lockedAt: undefined, failCount: 0 });
      return true;
    },
    async remove(jobs) {
      if (jobs.length === 0) return 0;
      return (await agenda.cancel({ ids: jobs.map(idOf) })) ?? 0;
    },
    async write(attrs, change) {
      const id = idOf(attrs);
      if (Object.keys(change).join() === 'disabled' && id !== undefined) {
        await (change.disabled ? agenda.disable?.({ id }) : agenda.enable?.({ id }));
        return;
      }
      await db.saveJob({ ...attrs, ...change });
    },
  };
}

const RECURS = { $or: [{ repeatInterval: { $ne: null } }, { repeatAt: { $ne: null } }] };
const ONCE = { repeatInterval: null, repeatAt: null };

function collectionStore(agenda: ForeignAgenda, collection: Collection): Store {
  /** Ids are of the driver's own class; what is none is looked for as a text too. */
  const keys = (id: string): ForeignId[] => {
    const ObjectId = collection.s?.pkFactory?.createPk().constructor;
    return ObjectId !== undefined && /^[0-9a-f]{24}$/i.test(id) ? [new ObjectId(id), id] : [id];
  };
  return {
    async get(id) {
      return (await collection.findOne({ _id: { $in: keys(id) } })) ?? undefined;
    },
    named: async (name) => (await collection.findOne({ name })) ?? undefined,
    recurring: () => collection.find(RECURS).toArray(),
    async failed(name) {
      const query = { ...ONCE, failedAt: { $ne: null }, nextRunAt: null, ...(name === undefined ? {} : { name }) };
      const found = await collection.find(query).sort({ failedAt: -1 }).limit(10_000).toArray();
      return found.filter(isFailed);
    },
    pending: (name) => collection.find({ ...ONCE, name, lockedAt: null, nextRunAt: { $ne: null } }).toArray(),
    async depths(names) {
      const due = { nextRunAt: { $lte: new Date() }, lockedAt: null, disabled: { $ne: true } };
      const counts = await Promise.all(names.map((name) => collection.countDocuments({ ...due, name })));
      return Object.fromEntries(names.map((name, i) => [name, counts[i] ?? 0]));
    },
    async reset({ _id }, nextRunAt) {
      const fresh = { nextRunAt, failCount: null, failReason: null, failedAt: null };
      const { matchedCount, modifiedCount } = await collection.updateOne({ _id, lockedAt: null }, { $set: fresh });
      return (matchedCount ?? modifiedCount ?? 0) > 0;
    },
    async remove(jobs) {
      if (jobs.length === 0) return 0;
      return (await agenda.cancel({ _id: { $in: jobs.map(({ _id }) => _id) } })) ?? 0;
    },
    async write({ _id }, change) {
      await collection.updateOne({ _id }, { $set: change });
    },
  };
}

const stores = new WeakMap<ForeignAgenda, Store>();

/** Undefined while the agenda is not connected. */
export function storeOf(agenda: ForeignAgenda): Store | undefined {
  const known = stores.get(agenda);
  if (known !== undefined) return known;
  const collection = agenda._collection ?? agenda.db?.collection;
  const { db } = agenda;
  const repository = db !== undefined && typeof db.queryJobs === 'function' ? db : undefined;
  const store =
    repository !== undefined
      ? repositoryStore(agenda, repository)
      : collection === undefined
        ? undefined
        : collectionStore(agenda, collection);
  if (store !== undefined) stores.set(agenda, store);
  return store;
}
