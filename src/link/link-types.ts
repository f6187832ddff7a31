import type { JournalReading } from '../journal/reader.js';
import type { Log } from '../log.js';
import type { AgentStatusPayload, HeartbeatPayload, HelloPayload, PlainObject, ReadObject } from '../protocol/index.js';
import type { BackoffOptions } from './backoff.js';
import type { CommandAnswer } from './outbox.js';
import type { Selection } from './outflow.js';

/**
 * - `idle`: not started;
 * - `connecting`: an attempt is under way;
 * - `connected`: the brain answered the hello;
 * - `waiting`: until the next attempt;
 * - `stopped`: for good.
 */
export type LinkState = 'idle' | 'connecting' | 'connected' | 'waiting' | 'stopped';

export type TransportName = 'ws' | 'longpoll';

/** A command as the brain sent it, its frame verified. */
export interface LinkCommand {
  readonly id: string;
  readonly action: string;
  readonly target: PlainObject;
  readonly parameters: PlainObject;
  /** `parameters` with the numbers as they stood on the wire: for digests of schedules. */
  readonly exact: ReadObject;
  readonly timeoutSeconds: number;
  readonly issuedBy: string | null;
}

/** A command as it can be handed from thread to thread. */
export type PortCommand = Omit<LinkCommand, 'exact'>;

/** How a command is answered; usable at any time, also when another connection has taken over. */
export interface Reply {
  /** The command has arrived. Lost when there is no connection: the result says enough. */
  ack(): void;
  /** Kept until a live connection has taken it, and sent again on a reconnect within a minute. Only the first counts. */
  result(answer: CommandAnswer): void;
}

/** What a brain said of a batch. */
export interface AckSummary {
  readonly received: number;
  readonly accepted: number;
  /** Duplicates count as rejected. */
  readonly rejected: number;
}

/** One established connection. */
export interface LinkSession {
  readonly transport: TransportName;
  /** `1.13.0`; empty when unknown, as on long-poll. */
  readonly brainVersion: string;
  readonly agentId: string;
  readonly projectId: string;
  readonly sessionId: string;
  /** Milliseconds the brain's clock is ahead; undefined when the brain did not say. */
  readonly clockSkewMs: number | undefined;
  /**
   * Sends events that do not go through the journal (schedule snapshots belong to their connection), ahead of those
   * that do. Resolves with the ack; rejects with `LinkError` `lost` when the connection ends first.
   */
  sendEvents(records: readonly Uint8Array[]): Promise<AckSummary>;
}

/** What an agent needs of its link, in whichever thread that runs. See `Link` for what the methods do. */
export interface LinkPort {
  readonly stats: LinkStats;
  start(): void;
  flush(timeoutMs: number): Promise<boolean>;
  stop(options?: { timeoutMs?: number }): Promise<void>;
  reconnect(reason: string): void;
  answer(commandId: string, answer: CommandAnswer): void;
  /** For the selection. */
  note(...note: Parameters<Selection['note']>): void;
}

export interface LinkOptions {
  /** Address of the brain, see `brainAddress`. */
  readonly url: string;
  readonly token: string;
  readonly secret: Uint8Array;
  /** Called for each connection. */
  readonly hello: () => HelloPayload;
  readonly journal: JournalReading;
  /** Default: everything is sent. */
  readonly selection?: Selection | undefined;
  /** Figures for one heartbeat. What is missing, or late when the signal aborts, is filled in by the link. */
  readonly heartbeat?: (signal: AbortSignal) => Promise<Partial<HeartbeatPayload>>;
  /** Adds to what the link knows of itself. */
  readonly agentStatus?: () => Partial<AgentStatusPayload>;
  /** Must not throw; everything else may take its time. */
  readonly onCommand: (command: LinkCommand, reply: Reply) => void;
  readonly onState?: (state: LinkState) => void;
  /** A connection was established, or has ended. */
  readonly onSession?: (session: LinkSession | undefined) => void;
  /** A twin connected under our worker id: `hello` is to name another one from now on. */
  readonly onReplaced?: () => void;
  /** A connection has taken the result of this command; it may be called again after a reconnect. */
  readonly onResultWritten?: (commandId: string) => void;
  /** Records no brain took were given up. */
  readonly onGivenUp?: () => void;
  readonly log: Log;
  /** Default `auto`: WebSocket, and long-poll where WebSocket cannot pass. */
  readonly transport?: TransportName | 'auto';
  /** Versions of the retry contract by engine; long-poll needs it to be given retry commands. Default engines of hello: 1. */
  readonly retryContracts?: { readonly [engine: string]: number };
  /** Plain `ws://` to other hosts. Default false. */
  readonly allowPlain?: boolean;
  /** For proxies and certificates. Default process.env. */
  readonly env?: { readonly [name: string]: string | undefined };
  readonly backoff?: BackoffOptions;
  readonly times?: Partial<LinkTimes>;
}

/** Milliseconds; the defaults are those for production. */
export interface LinkTimes {
  /** Without an ack although something is in flight. Default 90 000. */
  readonly ack: number;
  /** For name, network, TLS, upgrade and hello_ack, each. Default 15 000. */
  readonly handshake: number;
  /** After which a connection counts as working when nothing came. Default 1000. */
  readonly proof: number;
  /** On long-poll, before WebSocket is tried again. Default 300 000. */
  readonly upgradeRetry: number;
  /** Of one long-poll for commands. Default 25 000. */
  readonly poll: number;
  /** Between heartbeats, where the brain does not say (long-poll). Default 10 000. */
  readonly heartbeat: number;
}

/** What `agent_status` and `z4j-bare status` show. */
export interface LinkStats {
  readonly state: LinkState;
  readonly transport: TransportName | undefined;
  readonly connectedAt: number | undefined;
  readonly lastConnectedAt: number | undefined;
  readonly lastAckAt: number | undefined;
  /** Failures since the last working connection. */
  readonly authFailures: number;
  readonly protocolFailures: number;
  readonly connectionFailures: number;
  readonly unacked: number;
  /** Events per second the brain takes. */
  readonly rate: number | undefined;
  readonly givenUp: number;
  /** Events left out because the brain could not take them, since this process began. */
  readonly leftOut: number;
  /** Part of the successful tasks that is sent now. */
  readonly share: number;
  readonly clockSkewMs: number | undefined;
}
