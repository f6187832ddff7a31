import type { JournalHandle } from '../journal/writer.js';
import type { CommandAnswer, LinkOptions, LinkSession, LinkStats, PortCommand } from '../link/index.js';
import type { LogLevel } from '../log.js';
import type { HeartbeatPayload, HelloPayload } from '../protocol/index.js';

/** What the thread starts with; secrets go this way and no other. */
export interface ThreadData {
  /** Tells `register.mjs` that no agent is to be started in here. */
  readonly 'z4j.bare.thread': true;
  readonly link: Pick<LinkOptions, 'url' | 'token' | 'secret' | 'transport' | 'allowPlain' | 'times' | 'backoff'>;
  readonly journal: JournalHandle;
  readonly hello: NumberedHello;
  /** Of a `Flow`; undefined: everything is sent. */
  readonly flow: { readonly share: number } | undefined;
  /** See `Liveness`. */
  readonly liveness: SharedArrayBuffer;
}

/** Numbers rise with every change, so that the host learns which one a brain was told. */
export interface NumberedHello {
  readonly number: number;
  readonly payload: HelloPayload;
}

export type SessionFacts = Omit<LinkSession, 'sendEvents'>;

/** From the host to the thread. */
export type HostMessage =
  /** For the next connection. */
  | { readonly type: 'hello'; readonly hello: NumberedHello }
  | { readonly type: 'reconnect'; readonly reason: string }
  | { readonly type: 'figures'; readonly figures: Partial<HeartbeatPayload> }
  /** `end`: position behind the last record that was appended. */
  | { readonly type: 'flush'; readonly call: number; readonly timeoutMs: number; readonly end: number }
  | { readonly type: 'stop'; readonly timeoutMs: number; readonly end: number }
  /** Events past the journal, on the connection `sessionId` or not at all. */
  | {
      readonly type: 'send';
      readonly call: number;
      readonly sessionId: string;
      readonly records: readonly Uint8Array[];
    }
  /** Kind, task and whether it is remarkable, of one event after the other. */
  | { readonly type: 'notes'; readonly notes: readonly number[] }
  | { readonly type: 'answer'; readonly id: string; readonly answer: CommandAnswer };

/** From the thread to the host. */
export type ThreadMessage =
  | { readonly type: 'state'; readonly stats: LinkStats }
  /** A heartbeat is due: newer figures, please. */
  | { readonly type: 'beat'; readonly stats: LinkStats }
  /** `told`: number of the hello. */
  | {
      readonly type: 'session';
      readonly session: SessionFacts | undefined;
      readonly told: number;
      readonly stats: LinkStats;
    }
  | { readonly type: 'replaced' }
  /** Notes are wanted. */
  | { readonly type: 'watch'; readonly on: boolean }
  /** To be carried out by whoever gets `claim`. */
  | { readonly type: 'command'; readonly command: PortCommand; readonly claim: Claim }
  | { readonly type: 'written'; readonly id: string }
  | { readonly type: 'done'; readonly call: number; readonly value: unknown }
  | { readonly type: 'failed'; readonly call: number; readonly reason: string }
  | { readonly type: 'log'; readonly level: LogLevel; readonly message: string; readonly cause: string | undefined }
  | { readonly type: 'over'; readonly cause: string };

/** Belongs to the first who claims it, in whichever thread. */
export type Claim = SharedArrayBuffer;

export const newClaim = (): Claim => new SharedArrayBuffer(4);

/** True for one caller only. */
export const claim = (shared: Claim): boolean => Atomics.compareExchange(new Int32Array(shared), 0, 0, 1) === 0;

/** When the event loop of the host turned last, for the other thread to see. */
export class Liveness {
  readonly memory: SharedArrayBuffer;
  readonly #at: BigInt64Array;

  constructor(memory = new SharedArrayBuffer(8)) {
    this.memory = memory;
    this.#at = new BigInt64Array(memory);
  }

  /** Milliseconds since the epoch. */
  get at(): number {
    return Number(Atomics.load(this.#at, 0));
  }

  stamp(): void {
    Atomics.store(this.#at, 0, BigInt(Date.now()));
  }
}

/** Between two stamps, in milliseconds. */
export const STAMP_MS = 250;
