import type { PlainObject, PlainValue, ReadObject } from './reader.js';

/** Payload of `hello` (protocol.md §2); lengths are those a brain refuses beyond. */
export interface HelloPayload {
  /** `"2"`. */
  readonly protocol_version: string;
  /** ≤ 40 characters. */
  readonly agent_version: string;
  /** ≤ 40 characters. */
  readonly framework: string;
  /** ≤ 64 names. */
  readonly engines: readonly string[];
  /** ≤ 64 names. */
  readonly schedulers: readonly string[];
  /** Tokens by engine or scheduler name. */
  readonly capabilities: { readonly [name: string]: readonly string[] };
  /** `name` is shown. */
  readonly host: { readonly [key: string]: unknown };
  /** ≤ 128 characters; null is one unnamed slot. */
  readonly worker_id: string | null;
  /** ≤ 32 characters. */
  readonly worker_role: string | null;
  readonly worker_pid: number | null;
  /** ISO 8601 with offset. */
  readonly worker_started_at: string | null;
  /** ≤ 64 names. */
  readonly runtime_features: readonly string[];
}

export interface HelloAckPayload {
  readonly protocol_version: string;
  /** `1.13.0`; empty when the brain did not say. */
  readonly brain_version: string;
  readonly agent_id: string;
  readonly project_id: string;
  readonly session_id: string;
  /** 1…3600; 10 when the brain said nothing sensible. */
  readonly heartbeat_interval_seconds: number;
  /** ≥ 8192; 1 MiB when the brain said nothing sensible. */
  readonly max_frame_size_bytes: number;
}

export interface HelloAck {
  readonly payload: HelloAckPayload;
  /** The brain's clock in milliseconds since the epoch, where it told. */
  readonly brainTime: number | undefined;
}

/** Counters of what was lost before it was sent (brain ≥ 1.11, which closes the connection over a wrong type). */
export interface TelemetryLoss {
  /** 1…64 characters. */
  readonly buffer_id: string;
  /** 1…64 characters. */
  readonly runtime_id: string;
  readonly capacity_evicted_frames: number;
  readonly content_rejected_frames: number;
  readonly event_records: number;
  readonly command_results: number;
  readonly other_frames: number;
  readonly unclassified_frames: number;
  /** ≤ 32 names of ≤ 64 characters. */
  readonly adapter_events: { readonly [name: string]: number };
}

/** Payload of `heartbeat` (protocol.md §5). */
export interface HeartbeatPayload {
  readonly buffer_size: number;
  readonly last_flush_at: string | null;
  readonly dropped_events: number;
  /** Nested data as JSON text; at most 256 keys are looked at. */
  readonly adapter_health: { readonly [key: string]: string };
  readonly telemetry_loss: TelemetryLoss | null;
}

/** Payload of `agent_status` (protocol.md §5). */
export interface AgentStatusPayload {
  readonly auth_failure_streak: number;
  readonly protocol_failure_streak: number;
  readonly connection_failure_streak: number;
  readonly last_successful_connect_at: string | null;
  readonly current_session_age_seconds: number;
  readonly buffer_depth: number;
  readonly buffer_oldest_age_seconds: number | null;
  readonly agent_version: string;
  readonly protocol_version: string;
  readonly engines: readonly string[];
  readonly schedulers: readonly string[];
  readonly telemetry_loss: TelemetryLoss | null;
}

export interface CommandAckPayload {
  /** Repeated when the command had one. */
  readonly delivery_claim_token?: string | undefined;
}

/** Payload of `command_result`; `error` is cut at 8192 characters. */
export interface CommandResultPayload {
  readonly status: 'success' | 'failed';
  readonly result: unknown;
  readonly error: string | null;
  readonly delivery_claim_token?: string | undefined;
}

export interface EventBatchAckPayload {
  readonly acked_id: string;
  readonly received: number;
  readonly accepted: number;
  /** Duplicates count as rejected. */
  readonly rejected: number;
}

/** Payload of `command` (protocol.md §6.1) with ordinary numbers. */
export interface CommandPayload {
  readonly action: string;
  readonly target: {
    readonly type: string;
    readonly id: string | null;
    readonly engine: string | null;
    readonly scheduler: string | null;
  };
  readonly parameters: PlainObject;
  /** 60 when the brain did not say. */
  readonly timeout_seconds: number;
  readonly issued_by: string | null;
  readonly delivery_claim_token: string | null;
}

/** The brain's complaint about a batch; the connection stays open. */
export interface ErrorPayload {
  readonly code: string;
  readonly message: string;
  readonly fatal: boolean;
}

/** A verified, fresh frame of the brain. */
export type InboundFrame =
  | { readonly type: 'event_batch_ack'; readonly id: string; readonly payload: EventBatchAckPayload }
  | {
      readonly type: 'command';
      readonly id: string;
      readonly payload: CommandPayload;
      /** `parameters` with the numbers as they stood on the wire: for digests of schedules. */
      readonly exact: ReadObject;
    }
  | { readonly type: 'error'; readonly id: string; readonly payload: ErrorPayload }
  /** A kind this agent does not know: to be ignored. */
  | { readonly type: 'other'; readonly id: string; readonly name: string; readonly payload: PlainValue };
