/** The commands that Agenda and its drivers send, on documents in memory. One at a time: each is atomic. */
import type { Bson, Document } from './wire.js';

export interface Mingo {
  readonly Query: new (condition: object) => { test(document: object): boolean };
  find(
    documents: Document[],
    condition: object,
    projection?: object,
  ): {
    sort(order: object): unknown;
    skip(count: number): unknown;
    limit(count: number): unknown;
    all(): Document[];
  };
  aggregate(documents: Document[], pipeline: object[]): Document[];
}

class CommandFailure extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

interface Index {
  readonly name: string;
  readonly key: Document;
  readonly unique?: boolean;
  readonly partialFilterExpression?: object;
}

interface Collection {
  documents: Document[];
  readonly indexes: Index[];
}

const get = (document: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((value, key) => (value as Document | null | undefined)?.[key], document);

function set(document: Document, path: string, value: unknown): void {
  const keys = path.split('.');
  const last = keys.pop() as string;
  let target = document;
  for (const key of keys) {
    target[key] ??= {};
    target = target[key] as Document;
  }
  if (value === undefined) delete target[last];
  else target[last] = value;
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

const isOperators = (update: Document): boolean => Object.keys(update)[0]?.startsWith('$') ?? false;

function applyUpdate(document: Document, update: Document, inserted: boolean): Document {
  if (!isOperators(update)) return { _id: document._id, ...update };
  const result = copyOf(document);
  for (const [operator, fields] of Object.entries(update) as [string, Document][]) {
    for (const [path, value] of Object.entries(fields)) {
      if (operator === '$set' || (operator === '$setOnInsert' && inserted)) set(result, path, value);
      else if (operator === '$unset') set(result, path, undefined);
      else if (operator === '$inc') set(result, path, Number(get(result, path) ?? 0) + Number(value));
      else if (operator !== '$setOnInsert') throw new CommandFailure(9, `Unknown modifier: ${operator}`);
    }
  }
  if (document._id !== undefined && !same(document._id, result._id)) {
    throw new CommandFailure(66, "the (immutable) field '_id' was found to have been altered");
  }
  return result;
}

/** Copies containers; values of BSON types and dates are immutable here. */
function copyOf(document: Document): Document {
  const copy = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(copy);
    if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
      return copyOf(value as Document);
    }
    return value;
  };
  return Object.fromEntries(Object.entries(document).map(([key, value]) => [key, copy(value)]));
}

/** What an upsert takes over from its query: the fields that it asks to be equal to something. */
function seed(query: Document): Document {
  const result: Document = {};
  for (const [path, value] of Object.entries(query)) {
    if (path === '$and') for (const part of value as Document[]) Object.assign(result, seed(part));
    else if (path.startsWith('$')) continue;
    else if (typeof value === 'object' && value !== null && Object.keys(value)[0]?.startsWith('$')) {
      if ('$eq' in value) set(result, path, value.$eq);
    } else set(result, path, value);
  }
  return result;
}

const HELLO = {
  helloOk: true,
  ismaster: true,
  isWritablePrimary: true,
  maxBsonObjectSize: 16_777_216,
  maxMessageSizeBytes: 48_000_000,
  maxWriteBatchSize: 100_000,
  minWireVersion: 0,
  maxWireVersion: 21,
  readOnly: false,
};

type Handler = (command: Document) => Document;

/** Answers commands as a stand-alone server does; errors become its error documents. */
export function createCommands(bson: Bson, mingo: Mingo): (command: Document) => Document {
  const databases = new Map<string, Map<string, Collection>>();
  const database = (name: unknown): Map<string, Collection> => {
    const found = databases.get(String(name)) ?? new Map<string, Collection>();
    databases.set(String(name), found);
    return found;
  };
  const existing = (command: Document, name: unknown): Collection | undefined =>
    database(command.$db).get(String(name));
  const collection = (command: Document, name: unknown): Collection => {
    const found = existing(command, name) ?? {
      documents: [],
      indexes: [{ name: '_id_', key: { _id: 1 }, unique: true }],
    };
    database(command.$db).set(String(name), found);
    return found;
  };
  const select = (documents: Document[], filter: unknown, sort?: unknown): Document[] => {
    const cursor = mingo.find(documents, (filter ?? {}) as object);
    if (sort && Object.keys(sort).length > 0) cursor.sort(sort as object);
    return cursor.all();
  };
  const checkUnique = ({ documents, indexes }: Collection, document: Document, but?: Document): void => {
    for (const { name, key, unique, partialFilterExpression: partial } of indexes) {
      if (!unique || (partial && !new mingo.Query(partial).test(document))) continue;
      const condition = Object.fromEntries(Object.keys(key).map((path) => [path, get(document, path) ?? null]));
      const found = select(documents, partial ? { $and: [condition, partial] } : condition);
      if (found.some((other) => other !== but)) {
        throw new CommandFailure(11000, `E11000 duplicate key error, index: ${name}`);
      }
    }
  };
  const insert = (target: Collection, document: Document): Document => {
    const complete = { _id: document._id ?? new bson.ObjectId(), ...document };
    checkUnique(target, complete);
    target.documents.push(complete);
    return complete;
  };
  const replace = (target: Collection, old: Document, update: Document): Document => {
    const changed = applyUpdate(old, update, false);
    checkUnique(target, changed, old);
    target.documents[target.documents.indexOf(old)] = changed;
    return changed;
  };
  const upsert = (target: Collection, query: Document, update: Document): Document =>
    insert(target, applyUpdate(seed(query), update, true));
  const cursor = (command: Document, name: unknown, firstBatch: Document[]): Document => ({
    cursor: { id: 0n, ns: `${command.$db}.${name}`, firstBatch },
  });
  /** Runs each write; those that fail are told by their index. */
  const each = (writes: unknown, ordered: unknown, run: (write: Document, index: number) => void): Document => {
    const writeErrors: Document[] = [];
    for (const [index, write] of (writes as Document[]).entries()) {
      try {
        run(write, index);
      } catch (error) {
        if (!(error instanceof CommandFailure)) throw error;
        writeErrors.push({ index, code: error.code, errmsg: error.message });
        if (ordered !== false) break;
      }
    }
    return writeErrors.length > 0 ? { writeErrors } : {};
  };

  const handlers: { readonly [name: string]: Handler } = {
    hello: () => ({ ...HELLO, localTime: new Date() }),
    ping: () => ({}),
    buildInfo: () => ({ version: '7.0.0', versionArray: [7, 0, 0, 0] }),
    getParameter: () => ({}),
    endSessions: () => ({}),
    killCursors: () => ({ cursorsKilled: [] }),
    getMore: () => {
      throw new CommandFailure(43, 'cursor not found');
    },
    find(command) {
      const { find: name, filter, sort, projection } = command;
      let found = select(existing(command, name)?.documents ?? [], filter, sort);
      found = found.slice(Number(command.skip ?? 0));
      if (command.limit) found = found.slice(0, Math.abs(Number(command.limit)));
      const shown = projection ? mingo.find(found, {}, projection as object).all() : found;
      return cursor(command, name, shown);
    },
    count(command) {
      return { n: select(existing(command, command.count)?.documents ?? [], command.query).length };
    },
    distinct(command) {
      const found = select(existing(command, command.distinct)?.documents ?? [], command.query);
      return { values: [...new Set(found.map((document) => get(document, String(command.key))))] };
    },
    aggregate(command) {
      const documents = existing(command, command.aggregate)?.documents ?? [];
      return cursor(command, command.aggregate, mingo.aggregate(documents, command.pipeline as object[]));
    },
    insert(command) {
      let n = 0;
      const target = collection(command, command.insert);
      const errors = each(command.documents, command.ordered, (document) => {
        insert(target, document);
        n += 1;
      });
      return { n, ...errors };
    },
    update(command) {
      let [n, nModified] = [0, 0];
      const upserted: Document[] = [];
      const target = collection(command, command.update);
      const errors = each(command.updates, command.ordered, (write, index) => {
        const { q, u, multi, upsert: make } = write as { q: Document; u: Document; multi?: boolean; upsert?: boolean };
        const found = select(target.documents, q);
        for (const old of multi ? found : found.slice(0, 1)) {
          n += 1;
          if (!same(old, replace(target, old, u))) nModified += 1;
        }
        if (found.length > 0 || !make) return;
        n += 1;
        upserted.push({ index, _id: upsert(target, q, u)._id });
      });
      return { n, nModified, ...(upserted.length > 0 ? { upserted } : {}), ...errors };
    },
    delete(command) {
      let n = 0;
      const target = collection(command, command.delete);
      const errors = each(command.deletes, command.ordered, ({ q, limit }) => {
        const found = select(target.documents, q);
        const gone = new Set(limit ? found.slice(0, 1) : found);
        target.documents = target.documents.filter((document) => !gone.has(document));
        n += gone.size;
      });
      return { n, ...errors };
    },
    findAndModify(command) {
      const target = collection(command, command.findAndModify ?? command.findandmodify);
      const query = (command.query ?? {}) as Document;
      const [old] = select(target.documents, query, command.sort);
      if (command.remove) {
        if (old) target.documents = target.documents.filter((document) => document !== old);
        return { value: old ?? null, lastErrorObject: { n: old ? 1 : 0 } };
      }
      const update = command.update as Document;
      if (old) {
        const changed = replace(target, old, update);
        return { value: command.new ? changed : old, lastErrorObject: { n: 1, updatedExisting: true } };
      }
      if (!command.upsert) return { value: null, lastErrorObject: { n: 0, updatedExisting: false } };
      const made = upsert(target, query, update);
      const lastErrorObject = { n: 1, updatedExisting: false, upserted: made._id };
      return { value: command.new ? made : null, lastErrorObject };
    },
    createIndexes(command) {
      const { indexes } = collection(command, command.createIndexes);
      const before = indexes.length;
      for (const index of command.indexes as Index[]) {
        const known = indexes.find(({ name }) => name === index.name);
        if (known !== undefined && !same(known.key, index.key))
          throw new CommandFailure(86, `index ${index.name} exists`);
        if (known === undefined) indexes.push(index);
      }
      return { numIndexesBefore: before, numIndexesAfter: indexes.length };
    },
    listIndexes(command) {
      const found = existing(command, command.listIndexes);
      if (found === undefined) throw new CommandFailure(26, 'ns does not exist');
      return cursor(
        command,
        command.listIndexes,
        found.indexes.map((index) => ({ v: 2, ...index })),
      );
    },
    dropIndexes: () => ({}),
    create(command) {
      collection(command, command.create);
      return {};
    },
    drop(command) {
      if (!database(command.$db).delete(String(command.drop))) throw new CommandFailure(26, 'ns not found');
      return {};
    },
    dropDatabase(command) {
      databases.delete(String(command.$db));
      return {};
    },
    listCollections(command) {
      const names = [...database(command.$db).keys()];
      return cursor(
        command,
        '$cmd.listCollections',
        names.map((name) => ({ name, type: 'collection' })),
      );
    },
    listDatabases: () => ({ databases: [...databases.keys()].map((name) => ({ name })) }),
  };
  const aliases: { readonly [name: string]: string } = {
    ismaster: 'hello',
    isMaster: 'hello',
    findandmodify: 'findAndModify',
  };

  return (command) => {
    const name = Object.keys(command)[0] ?? '';
    const handler = handlers[aliases[name] ?? name];
    try {
      if (handler === undefined) throw new CommandFailure(59, `no such command: '${name}'`);
      return { ...handler(command), ok: 1 };
    } catch (error) {
      const code = error instanceof CommandFailure ? error.code : 8;
      return { ok: 0, code, codeName: `Error${code}`, errmsg: String((error as Error).message) };
    }
  };
}
