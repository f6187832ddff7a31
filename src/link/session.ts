import type { FrameWriter, HelloPayload, InboundFrame } from '../protocol/index.js';
import type { LinkError } from './errors.js';
import type { LinkCommand, LinkSession, LinkTimes, TransportName } from './link-types.js';
import type { Outbox } from './outbox.js';
import type { Outflow } from './outflow.js';
import type { Environment } from './socket.js';
import type { BrainAddress } from './url.js';

/** How a session ended. */
export interface SessionEnd {
  /** WebSocket close code; 1006 when there was none. */
  readonly code: number;
  /** HTTP status instead of an upgrade, or of a long-poll request. */
  readonly status?: number | undefined;
  /** Why, where no brain said so. */
  readonly error?: LinkError | undefined;
  /** We wanted it. */
  readonly wanted: boolean;
  /** Milliseconds the brain asked to wait. */
  readonly retryAfterMs?: number | undefined;
}

/** What a session needs of its link; calls come from outside the host's context. */
export interface SessionContext {
  readonly address: BrainAddress;
  readonly token: string;
  readonly secret: Uint8Array;
  readonly env: Environment;
  readonly times: LinkTimes;
  readonly outflow: Outflow;
  readonly outbox: Outbox;
  hello(): HelloPayload;
  /** The next heartbeat and status go out through `writer`; resolves when they were written. */
  beat(write: (frame: (writer: FrameWriter) => Buffer) => Promise<void>, intervalMs: number): Promise<void>;
  retryContracts(): string;
  /** The brain answered: frames may be sent. */
  onUp(session: LinkSession): void;
  /** A signed frame of the brain arrived, or (`signed` false) none of ours was refused for a while. */
  onProof(signed: boolean): void;
  /** A brain has signed with our secret before. */
  secretIsRight(): boolean;
  /** Something was confirmed or written. */
  onChange(): void;
  onCommand(frame: InboundFrame & { type: 'command' }): void;
  /** The connection took the result of this command. */
  onResultWritten(commandId: string): void;
  onDebug(message: string): void;
}

/** One attempt to be connected, by whichever transport, until its end. */
export interface Session {
  readonly transport: TransportName;
  /** Resolves once, never rejects. */
  readonly ended: Promise<SessionEnd>;
  /** There may be something to send. */
  wake(): void;
  /** The command has arrived; nothing happens when the session is not up. */
  ack(commandId: string, claimToken: string | null): void;
  /** No more events from the journal; results and heartbeats still go. */
  quiesce(): void;
  /** Says goodbye and ends, at the latest after `timeoutMs`. */
  close(timeoutMs: number): void;
}

/** A command as the agent sees it. */
export function readCommand({ id, payload, exact }: InboundFrame & { type: 'command' }): LinkCommand {
  const { action, target, parameters, timeout_seconds: timeoutSeconds, issued_by: issuedBy } = payload;
  return { id, action, target, parameters, exact, timeoutSeconds, issuedBy };
}
