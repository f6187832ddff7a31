import { createHash, randomUUID } from 'node:crypto';
import { type Authority, canonical, normaliseRow, type ScheduleRow, sameRow } from '../protocol/index.js';
import { Redactor } from '../redactor.js';

type Json = { readonly [key: string]: unknown };

/** A row of the Schedules page. */
export type StubSchedule = ScheduleRow;

/** What became of one schedule event: `unacked` withholds the ack of its whole batch. */
export type Verdict = 'accepted' | 'rejected' | 'unacked';

/** `control` is how brains before 1.13 enable and disable. */
export type ScheduleOperation = 'create' | 'update' | 'delete' | 'trigger' | 'control';

interface Outcome {
  readonly status: string;
  readonly result: unknown;
  readonly error: string | null;
}

interface Staged {
  readonly snapshotId: unknown;
  readonly digest: unknown;
  readonly frames: Map<number, readonly Json[]>;
}

interface Stream {
  readonly owner: string;
  readonly streamId: string;
  /** The connection that may publish. */
  executor: object | undefined;
  epoch: Authority | undefined;
  sequence: number;
  rows: readonly ScheduleRow[];
  readonly staged: Map<number, Staged>;
  ambiguous: boolean;
  /** Rows of the epoch before: a first snapshot must hold them. */
  held: readonly ScheduleRow[];
  /** Accepted numbers by the reason that was given for them. */
  readonly reasons: Map<unknown, number>;
}

const FRAME_KEYS =
  'adapter_instance_id,epoch_number,epoch_uuid,frame_count,frame_index,frame_kind,owner,protocol_version,row_count,schedules,sequence,snapshot_digest,snapshot_id,source_scope,stable_source,stream_id';
const RUN_KEYS = ['last_run_at', 'next_run_at', 'total_runs'];

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const minorOf = (version: string): number => {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 1 ? 99 : minor;
};

/**
 * The brain's side of the schedules that agents own (protocol.md §7): one stream an owner, its epochs, snapshots and
 * native operations, with the same refusals.
 */
export class ScheduleStreams {
  readonly #streams = new Map<string, Stream>();
  readonly #plain = new Map<string, readonly StubSchedule[]>();
  readonly #minor: number;
  readonly #redactor = new Redactor();
  #epochs = 0;

  constructor(brainVersion = '1.13.0') {
    this.#minor = minorOf(brainVersion);
  }

  /** What is shown of all owners. */
  rows(owner?: string): readonly StubSchedule[] {
    const all = [...this.#streams.values()].map((stream) => [stream.owner, stream.rows] as const);
    return [...all, ...this.#plain]
      .filter(([name]) => owner === undefined || name === owner)
      .flatMap(([, rows]) => rows);
  }

  /** Last accepted number of an owner; 0 while its epoch has none. */
  sequence(owner: string): number {
    return this.#streams.get(owner)?.sequence ?? 0;
  }

  isAmbiguous(owner: string): boolean {
    return this.#streams.get(owner)?.ambiguous ?? false;
  }

  isActive(owner: string): boolean {
    return this.#streams.get(owner)?.executor !== undefined;
  }

  /** The connection that operations of an owner go to. */
  executor(owner: string): object | undefined {
    return this.#streams.get(owner)?.executor;
  }

  /** Parameters of the activations that a connection is given for its hello. */
  connected(
    connection: object,
    hello: { schedulers?: unknown; capabilities?: unknown; runtimeFeatures?: unknown },
  ): Json[] {
    const { schedulers, capabilities, runtimeFeatures } = hello;
    const asks = Array.isArray(runtimeFeatures) && runtimeFeatures.includes('external_schedule_protocol_v1');
    if (this.#minor < 8 || !asks || !Array.isArray(schedulers)) return [];
    return schedulers.flatMap((owner: string) => {
      const tokens = (capabilities as { [name: string]: readonly string[] | undefined })[owner] ?? [];
      return tokens.includes('external_schedule_stable_snapshot_v1') ? this.activate(owner, connection) : [];
    });
  }

  /** Gives the stream to a connection, unless another has it. */
  activate(owner: string, connection: object): Json[] {
    let stream = this.#streams.get(owner);
    if (stream === undefined) {
      stream = {
        owner,
        streamId: randomUUID(),
        executor: undefined,
        epoch: undefined,
        sequence: 0,
        rows: [],
        staged: new Map(),
        ambiguous: false,
        held: [],
        reasons: new Map(),
      };
      this.#streams.set(owner, stream);
    }
    if (stream.executor !== undefined || stream.ambiguous) return [];
    stream.executor = connection;
    stream.sequence = 0;
    stream.held = stream.rows;
    stream.staged.clear();
    stream.epoch = {
      stream_id: stream.streamId,
      epoch_uuid: randomUUID(),
      epoch_number: ++this.#epochs,
      owner,
      source_scope: JSON.stringify({ kind: 'scheduler-owner', owner, version: 1 }),
      adapter_instance_id: randomUUID(),
    };
    return [{ scheduler: owner, ...stream.epoch, ...this.#registry(), stable_source: true }];
  }

  disconnected(connection: object): void {
    for (const stream of this.#streams.values()) if (stream.executor === connection) stream.executor = undefined;
  }

  /** Undefined: not an event about schedules. */
  take(event: Json): Verdict | undefined {
    const { kind, data } = event as { kind?: unknown; data?: Json };
    if (typeof kind !== 'string' || !/^schedule\.(snapshot|created|updated|deleted)$/.test(kind)) return undefined;
    const frame = data?.external_snapshot_frame as Json | undefined;
    const projection = data?.external_projection as Json | undefined;
    if (frame !== undefined) return this.#frame(frame, data as Json);
    if (projection !== undefined) return this.#control(projection, data as Json);
    if (this.#minor >= 8) return 'unacked';
    if (kind === 'schedule.snapshot') {
      const { scheduler, schedules } = data as { scheduler: string; schedules: StubSchedule[] };
      this.#plain.set(scheduler, schedules);
    }
    return 'accepted';
  }

  /** What is wrong with a number; undefined when it is the next one. */
  #place(stream: Stream | undefined, body: Json, id: unknown, digest: unknown): Verdict | undefined {
    if (stream === undefined) return 'rejected';
    if (stream.ambiguous || body.epoch_uuid !== stream.epoch?.epoch_uuid) return 'accepted';
    const sequence = body.sequence as number;
    const staged = stream.staged.get(sequence);
    if (staged !== undefined && (staged.snapshotId !== id || staged.digest !== digest)) {
      stream.ambiguous = true;
      return 'accepted';
    }
    if (sequence <= stream.sequence) return 'accepted';
    return sequence > stream.sequence + 1 ? 'unacked' : undefined;
  }

  #frame(body: Json, data: Json): Verdict {
    const text = canonical(body);
    if (Object.keys(body).sort().join() !== FRAME_KEYS || sha256(text) !== data.frame_digest) return 'rejected';
    // A brain redacts before it compares.
    const rows = body.schedules as readonly Json[];
    if (rows.some((row) => this.#redactor.print(row) !== canonical(row))) return 'rejected';
    const stream = this.#streams.get(String(body.owner));
    const place = this.#place(stream, body, body.snapshot_id, body.snapshot_digest);
    if (place !== undefined || stream === undefined) return place ?? 'rejected';
    const sequence = body.sequence as number;
    const staged = stream.staged.get(sequence) ?? {
      snapshotId: body.snapshot_id,
      digest: body.snapshot_digest,
      frames: new Map(),
    };
    stream.staged.set(sequence, staged);
    if (body.frame_kind === 'rows') {
      staged.frames.set(body.frame_index as number, body.schedules as Json[]);
      return 'accepted';
    }
    if (staged.frames.size !== body.frame_count) return 'unacked';
    const schedules = [...staged.frames].sort(([a], [b]) => a - b).flatMap(([, rows]) => rows);
    const digest = sha256(canonical(this.#projection(stream, sequence, 'snapshot', null, schedules)));
    if (digest !== body.snapshot_digest || schedules.length !== body.row_count) return 'unacked';
    const valid = this.#valid(stream.owner, schedules);
    const keys = new Set(valid?.map((row) => row.source_key));
    const lacks = sequence === 1 && stream.held.some((row) => !keys.has(row.source_key));
    if (valid === undefined || lacks) return 'rejected';
    this.#apply(stream, sequence, valid, data.reason);
    return 'accepted';
  }

  #control(body: Json, data: Json): Verdict {
    const stream = this.#streams.get(String(body.owner));
    if (sha256(canonical(body)) !== data.payload_digest) return 'rejected';
    const place = this.#place(stream, body, body.operation_id, data.payload_digest);
    if (place !== undefined || stream === undefined) return place ?? 'rejected';
    const [row] = body.schedules as [ScheduleRow];
    const digest = sha256(
      canonical(this.#projection(stream, body.sequence as number, 'control', body.operation_id, [row])),
    );
    if (digest !== data.payload_digest) return 'rejected';
    const rows = stream.rows.map((each) => (each.source_key === row.source_key ? row : each));
    this.#apply(stream, body.sequence as number, rows, data.reason);
    return 'accepted';
  }

  #projection(stream: Stream, sequence: number, kind: string, operation: unknown, schedules: readonly unknown[]): Json {
    const rest = { protocol_version: 1, stable_source: true, operation_id: operation, deleted_source_keys: [] };
    return { ...stream.epoch, ...rest, sequence, kind, complete: kind === 'snapshot', schedules };
  }

  #valid(owner: string, schedules: readonly Json[]): readonly ScheduleRow[] | undefined {
    try {
      const rows = schedules.map((row) => normaliseRow(row, owner));
      const isUnique = (key: 'name' | 'source_key'): boolean =>
        new Set(rows.map((row) => row[key])).size === rows.length;
      return isUnique('name') && isUnique('source_key') ? rows : undefined;
    } catch {
      return undefined;
    }
  }

  #apply(stream: Stream, sequence: number, rows: readonly ScheduleRow[], reason: unknown): void {
    stream.sequence = sequence;
    stream.rows = rows;
    stream.reasons.set(reason, sequence);
  }

  #registry(): Json {
    return { registry_owner_id: randomUUID(), session_generation: randomUUID() };
  }

  /** The command that a press on the Schedules page becomes. Throws when there is no live stream or no such row. */
  command(
    owner: string,
    operation: ScheduleOperation,
    sourceKey: string | null,
    definition: Json = {},
  ): { readonly action: string; readonly parameters: Json } {
    const stream = this.#streams.get(owner);
    const { epoch } = stream ?? {};
    if (stream === undefined || epoch === undefined || stream.executor === undefined || stream.ambiguous) {
      throw new Error(`409: ${owner} has no live stream`);
    }
    const row = stream.rows.find((each) => each.source_key === sourceKey);
    if (sourceKey !== null && row === undefined) throw new Error(`404: ${owner} has no schedule ${sourceKey}`);
    const shared = {
      ...epoch,
      ...this.#registry(),
      operation_id: randomUUID(),
      scheduler: owner,
      schedule_id: sourceKey,
      expected_accepted_sequence: stream.sequence,
    };
    if (operation !== 'control') {
      const parameters = { ...shared, stable_source: true, operation, definition, expected: row ?? null };
      return { action: 'schedule.external.mutate', parameters };
    }
    const desired = { ...(row as ScheduleRow), ...definition };
    const parameters = {
      ...shared,
      source_key: sourceKey,
      z4j_schedule_id: randomUUID(),
      expected_projection_digest: sha256(canonical(row)),
      desired_projection: desired,
      desired_projection_digest: sha256(canonical(desired)),
    };
    return { action: 'schedule.external.control', parameters };
  }

  /** Whether a brain believes the answer: undefined when it does, else the reason. A control it cannot believe ends the stream. */
  doubt(parameters: Json, outcome: Outcome): string | undefined {
    const stream = this.#streams.get(String(parameters.scheduler)) as Stream;
    const isControl = parameters.desired_projection !== undefined;
    const reason = isControl
      ? this.#doubtControl(stream, parameters, outcome)
      : this.#doubtMutation(stream, parameters, outcome);
    if (reason !== undefined && isControl) stream.ambiguous = true;
    return reason;
  }

  #doubtControl(stream: Stream, parameters: Json, { status, result, error }: Outcome): string | undefined {
    if (status !== 'success') return error ?? status;
    const { operation_id, sequence } = (result ?? {}) as Json;
    if (operation_id !== parameters.operation_id) return 'another operation was answered';
    if (sequence !== (parameters.expected_accepted_sequence as number) + 1 || stream.sequence !== sequence)
      return 'wrong sequence';
    const desired = parameters.desired_projection as ScheduleRow;
    const row = stream.rows.find((each) => each.source_key === desired.source_key);
    return row !== undefined && sameRow(row, desired, ['next_run_at']) ? undefined : 'the row is not as desired';
  }

  #doubtMutation(stream: Stream, parameters: Json, { status, result, error }: Outcome): string | undefined {
    if (status !== 'success') return error ?? status;
    const answer = (result ?? {}) as Json;
    const { operation, definition, operation_id, schedule_id } = parameters;
    for (const key of ['operation_id', 'stream_id', 'epoch_uuid']) {
      if (answer[key] !== parameters[key]) return `another ${key}`;
    }
    const published = stream.reasons.get(`native-mutation:${String(operation_id)}`);
    if (published === undefined || published !== answer.sequence) return 'its snapshot was not accepted';
    if (published <= (parameters.expected_accepted_sequence as number)) return 'an old sequence';
    if (schedule_id !== null && answer.source_key !== schedule_id) return 'another schedule';
    const row = stream.rows.find((each) => each.source_key === answer.source_key);
    if (operation === 'delete') {
      return row === undefined && answer.observed_configuration === null ? undefined : 'it is still there';
    }
    if (row === undefined || !sameRow(row, answer.observed_configuration as object, RUN_KEYS))
      return 'another configuration';
    if (operation === 'trigger') {
      return (answer.trigger_result as Json | undefined)?.status === 'success' ? undefined : 'no trigger_result';
    }
    const shown = row as unknown as Json;
    const missing = Object.entries(definition as Json).find(
      ([key, value]) => canonical(shown[key]) !== canonical(value),
    );
    return missing === undefined ? undefined : `${missing[0]} is not as it was asked for`;
  }
}
