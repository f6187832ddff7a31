/** How the stub may be made to misbehave; every field can be changed at any time through `stub.misbehave()`. */
export interface Misbehaviour {
  /** Event batches are stored but never acknowledged. */
  readonly noAck?: boolean | undefined;
  /** Milliseconds before each acknowledgement. */
  readonly slowAckMs?: number | undefined;
  /** Each acknowledgement is sent twice. */
  readonly duplicateAcks?: boolean | undefined;
  /** Acknowledgements are held back until this many are there, then sent in reverse order. */
  readonly reverseAcks?: number | undefined;
  /** An acknowledgement for a frame that was never sent goes before each right one. */
  readonly unknownAcks?: boolean | undefined;
  /** Frames of the brain carry a wrong signature. */
  readonly wrongSignature?: boolean | undefined;
  /** Each frame of the brain is sent twice, byte for byte. */
  readonly replay?: boolean | undefined;
  /** The brain's clock minus the real one, in milliseconds. */
  readonly clockOffsetMs?: number | undefined;
  /** Every new connection is closed with this code right after the upgrade. */
  readonly closeWith?: number | undefined;
  /** Upgrades are answered with this HTTP status, as by a proxy that does not know WebSocket. */
  readonly refuseUpgrade?: number | undefined;
  /** The upgrade is accepted but the hello never answered. */
  readonly noHelloAck?: boolean | undefined;
  /** Closes the connection with the returned code when a batch holds such an event; undefined takes it. */
  readonly refuseEvent?: ((event: { readonly [key: string]: unknown }) => number | undefined) | undefined;
  /** Long-poll requests are answered with this status. */
  readonly httpStatus?: number | undefined;
  /** Goes with `httpStatus`, in seconds. */
  readonly retryAfter?: number | undefined;
  /** Most frames taken from one long-poll upload; the others are to be sent again. */
  readonly acceptFrames?: number | undefined;
}

export interface StubBrainOptions extends Misbehaviour {
  /** Port on 127.0.0.1. Default: a free one. */
  readonly port?: number | undefined;
  /** Path before `/ws/agent` and `/api/v1`, such as `/z4j`. Default none. */
  readonly prefix?: string | undefined;
  /** Default 10, as a brain. */
  readonly heartbeatSeconds?: number | undefined;
  /** Bytes of the largest frame. Default 1 MiB, as a brain. */
  readonly maxFrameBytes?: number | undefined;
  /** Bytes of the largest long-poll upload. Default 8192, as a brain. */
  readonly maxBodyBytes?: number | undefined;
  /** Events taken in per second, one frame after the other, as by a real database. Default: as fast as it can. */
  readonly eventsPerSecond?: number | undefined;
  /** false: events are counted and acknowledged but neither stored nor projected, for benchmarks. */
  readonly record?: boolean | undefined;
  /** What the brain says its version is. Default `1.13.0`. */
  readonly brainVersion?: string | undefined;
  /** Agent token. Default: a random one. */
  readonly token?: string | undefined;
  /** 32 bytes. Default: random. */
  readonly secret?: Uint8Array | undefined;
}

/** An operator's command. */
export interface StubCommand {
  readonly action: string;
  readonly parameters?: { readonly [key: string]: unknown };
  readonly target?: { readonly [key: string]: unknown };
  readonly delivery_claim_token?: string | null;
}

export interface StubCommandOutcome {
  /** `timeout`: no result within the time. */
  readonly status: 'success' | 'failed' | 'timeout';
  readonly result: unknown;
  readonly error: string | null;
  /** Whether a `command_ack` came. */
  readonly acknowledged: boolean;
}

/** What an operator does to a schedule that an agent owns. */
export interface StubOperation {
  /** The owner, `<service>-<engine>`. */
  readonly scheduler: string;
  /** `control` enables or disables as brains before 1.13 do it. */
  readonly operation: 'create' | 'update' | 'delete' | 'trigger' | 'control';
  /** Name of the row; absent for `create`. */
  readonly schedule?: string;
  /** Columns to set, as they stand in a row: `{ is_enabled: false }`. */
  readonly definition?: { readonly [key: string]: unknown };
}

export interface StubOperationOutcome {
  readonly result: unknown;
  /** Why a brain would not believe that it was done. */
  readonly error: string | undefined;
}

/** What the stub has counted since it was started. */
export interface StubCounts {
  connections: number;
  /** Event batches. */
  frames: number;
  bytes: number;
  /** Events in all batches, duplicates among them. */
  events: number;
  accepted: number;
  rejected: number;
  /** Events of the largest batch. */
  largestFrame: number;
}

/** One agent: what its last hello said, and whether a process of it is connected. */
export interface StubAgent {
  readonly id: string;
  readonly state: 'online' | 'offline';
  readonly hello: import('./brain-wire.js').StubHello | undefined;
}
