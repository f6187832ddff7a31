/** What this instrumentation touches of Agenda 3–6 and @hokify/agenda. Members that some version lacks are optional. */

/** Driver's ObjectId, uuid or text. */
export type ForeignId = string | { toString(): string };

/** The document of a job. */
export interface Attrs {
  _id?: ForeignId;
  name: string;
  data?: unknown;
  type?: string;
  priority?: number;
  nextRunAt?: Date | null | undefined;
  lockedAt?: Date | null | undefined;
  lastRunAt?: Date | null | undefined;
  lastFinishedAt?: Date | null | undefined;
  failedAt?: Date | null | undefined;
  failCount?: number | null | undefined;
  failReason?: string | null | undefined;
  repeatInterval?: string | number | null | undefined;
  repeatTimezone?: string | null | undefined;
  repeatAt?: string | null | undefined;
  disabled?: boolean;
  unique?: unknown;
  /** 4.x and 5.x, where the host asked for it. */
  shouldSaveResult?: boolean;
  result?: unknown;
}

export interface ForeignJob {
  readonly agenda: ForeignAgenda;
  readonly attrs: Attrs;
  canceled?: unknown;
  save(): Promise<ForeignJob>;
  schedule(when: Date): ForeignJob;
  priority(value: number | string): ForeignJob;
  repeatEvery(spec: string | number, options?: { timezone?: string; skipImmediate?: boolean }): ForeignJob;
  computeNextRunAt(): ForeignJob;
  /** 6 and hokify. */
  cancel?(error?: Error): void;
}

export interface Definition {
  concurrency: number;
  lockLimit: number;
  lockLifetime: number;
  /** 6. */
  readonly backoff?: unknown;
}

interface Cursor {
  sort(order: object): Cursor;
  skip(count: number): Cursor;
  limit(count: number): Cursor;
  toArray(): Promise<Attrs[]>;
}

/** The driver's collection, versions 3.5 to 4. */
export interface Collection {
  find(query: object): Cursor;
  findOne(query: object): Promise<Attrs | null>;
  countDocuments(query: object): Promise<number>;
  updateOne(query: object, update: object): Promise<{ modifiedCount?: number; matchedCount?: number }>;
  deleteMany(query: object): Promise<{ deletedCount?: number }>;
  readonly s?: { readonly pkFactory?: { createPk(): { constructor: new (id: string) => ForeignId } } };
}

/** 6: the repository of a backend. */
export interface Repository {
  getJobById(id: string): Promise<Attrs | null>;
  queryJobs(options: {
    id?: string;
    ids?: readonly string[];
    name?: string;
    state?: string;
  }): Promise<{ jobs: Attrs[] }>;
  saveJob(attrs: object, options?: object): Promise<Attrs>;
  saveJobState(attrs: object, options?: object): Promise<void>;
  /** hokify. */
  readonly collection?: Collection;
}

export interface ForeignAgenda {
  readonly forkedWorker?: boolean;
  readonly attrs?: { name?: string; maxConcurrency?: number; lockLimit?: number; processEvery?: number };
  readonly definitions?: { readonly [name: string]: Definition };
  readonly db?: Repository;
  readonly jobProcessor?: { maxConcurrency: number; totalLockLimit?: number; jobProcessing?(): unknown };
  // 3–5
  readonly _definitions?: { readonly [name: string]: Definition };
  readonly _collection?: Collection;
  readonly _name?: string;
  readonly _maxConcurrency?: number;
  readonly _lockLimit?: number;
  readonly _processEvery?: number;
  readonly _processInterval?: unknown;
  create(name: string, data?: unknown): ForeignJob;
  now(name: string, data?: unknown): Promise<ForeignJob>;
  every(
    spec: string | number,
    name: string,
    data?: unknown,
    options?: { timezone?: string; skipImmediate?: boolean },
  ): Promise<ForeignJob>;
  cancel(query: object): Promise<number | undefined>;
  enable?(query: object): Promise<number>;
  disable?(query: object): Promise<number>;
  maxConcurrency(value: number): unknown;
  publishJobNotification?(job: ForeignJob): Promise<void>;
  hasNotificationChannel?(): boolean;
}

export const definitionsOf = (agenda: ForeignAgenda): { readonly [name: string]: Definition } =>
  agenda.definitions ?? agenda._definitions ?? {};

export const labelOf = (agenda: ForeignAgenda): string | undefined => agenda.attrs?.name || agenda._name || undefined;

/** Whether it takes jobs. */
export const isStarted = (agenda: ForeignAgenda): boolean =>
  agenda.jobProcessor !== undefined || agenda._processInterval != null;

export const maxConcurrencyOf = (agenda: ForeignAgenda): number =>
  agenda.jobProcessor?.maxConcurrency ?? agenda._maxConcurrency ?? agenda.attrs?.maxConcurrency ?? 0;

/** How many jobs it may hold locked at a time, all names together; undefined: as many as it likes. */
export const lockLimitOf = (agenda: ForeignAgenda): number | undefined =>
  (agenda.jobProcessor?.totalLockLimit ?? agenda._lockLimit ?? agenda.attrs?.lockLimit) || undefined;

/** How many jobs can really run side by side: none runs that is not locked. */
export function placesOf(agenda: ForeignAgenda): number {
  const places = maxConcurrencyOf(agenda);
  const limit = lockLimitOf(agenda);
  return limit === undefined || (places > 0 && places <= limit) ? places : limit;
}

export const isRecurring = ({ repeatInterval, repeatAt }: Attrs): boolean =>
  (repeatInterval != null && repeatInterval !== '') || (repeatAt != null && repeatAt !== '');

export const idOf = ({ _id }: Attrs): string | undefined => (_id == null ? undefined : String(_id));

export function timeOf(date: Date | string | null | undefined): number | undefined {
  if (date == null) return undefined;
  const time = date instanceof Date ? date.getTime() : new Date(date).getTime();
  return Number.isNaN(time) ? undefined : time;
}
