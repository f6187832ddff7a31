import { performance } from 'node:perf_hooks';
import type { JournalReading } from '../journal/reader.js';
import type { Log } from '../log.js';
import type { FrameWriter, HeartbeatPayload, HelloPayload } from '../protocol/index.js';
import type { LinkOptions, LinkStats } from './link-types.js';

export interface PulseOptions {
  readonly heartbeat: LinkOptions['heartbeat'];
  readonly agentStatus: LinkOptions['agentStatus'];
  readonly journal: JournalReading;
  readonly log: Log;
  readonly stats: () => LinkStats;
  /** The last one that was sent. */
  readonly hello: () => HelloPayload | undefined;
}

/** Sends a frame that is built when its turn comes; resolves when it was taken. */
export type Write = (build: (writer: FrameWriter) => Buffer) => Promise<void>;

/** A brain keeps at most 12 a minute. */
const STATUS_EVERY_MS = 5000;

const iso = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

/** What the brain hears regularly: that we live, and how. */
export class Pulse {
  readonly #options: PulseOptions;
  #statusAt = Number.NEGATIVE_INFINITY;

  constructor(options: PulseOptions) {
    this.#options = options;
  }

  /** One heartbeat, and a status where one is due. */
  async beat(write: Write, intervalMs: number): Promise<void> {
    const { journal, stats, hello, agentStatus } = this.#options;
    const payload: HeartbeatPayload = {
      buffer_size: journal.size.records,
      last_flush_at: iso(stats().lastAckAt),
      dropped_events: journal.losses.records,
      adapter_health: {},
      telemetry_loss: null,
      ...(await this.#figures(intervalMs / 2)),
    };
    await write((writer) => writer.heartbeat(payload));
    const now = performance.now();
    if (now - this.#statusAt < STATUS_EVERY_MS) return;
    this.#statusAt = now;
    const { authFailures, protocolFailures, connectionFailures, lastConnectedAt, connectedAt } = stats();
    const { oldestAt } = journal;
    const age = (since: number | undefined): number =>
      since === undefined ? 0 : Math.max(Date.now() - since, 0) / 1000;
    await write((writer) =>
      writer.agentStatus({
        auth_failure_streak: authFailures,
        protocol_failure_streak: protocolFailures,
        connection_failure_streak: connectionFailures,
        last_successful_connect_at: iso(lastConnectedAt),
        current_session_age_seconds: age(connectedAt),
        buffer_depth: journal.size.records,
        buffer_oldest_age_seconds: oldestAt === undefined ? null : Math.round(age(oldestAt)),
        agent_version: hello()?.agent_version ?? '',
        protocol_version: hello()?.protocol_version ?? '2',
        engines: hello()?.engines.slice(0, 32) ?? [],
        schedulers: hello()?.schedulers.slice(0, 32) ?? [],
        telemetry_loss: payload.telemetry_loss,
        ...agentStatus?.(),
      }),
    );
  }

  /** The agent's figures, if they are there in time: the beat itself must not wait for a broker. */
  #figures(timeoutMs: number): Promise<Partial<HeartbeatPayload>> {
    const { heartbeat, log } = this.#options;
    if (heartbeat === undefined) return Promise.resolve({});
    const abort = new AbortController();
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        resolve({});
        abort.abort();
      }, timeoutMs).unref();
      const settle = (figures: Partial<HeartbeatPayload>): void => {
        clearTimeout(timer);
        resolve(figures);
      };
      heartbeat(abort.signal).then(settle, (cause) => {
        log.debug(`no figures for the heartbeat: ${String(cause)}`);
        settle({});
      });
    });
  }
}
