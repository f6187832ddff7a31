import { setTimeout as delay } from 'node:timers/promises';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { Flow } from '../flow/flow.js';
import { damageText, openJournalReader } from '../journal/reader.js';
import { Link, type LinkCommand, type Reply } from '../link/index.js';
import type { Log, LogLevel } from '../log.js';
import type { HeartbeatPayload } from '../protocol/index.js';
import {
  type Claim,
  claim,
  type HostMessage,
  Liveness,
  newClaim,
  STAMP_MS,
  type ThreadData,
  type ThreadMessage,
} from './messages.js';

/*
 * The link of an agent, in a thread of its own: goes on while the host's event loop stands still. Ends when the host
 * says so, or with the process.
 */

const port = parentPort as MessagePort;
const data = workerData as ThreadData;
const post = (message: ThreadMessage): void => port.postMessage(message);

/** The host has this long to take a command, or a third of the command's own time where that is less. */
const TAKE_MS = 10_000;
/** A heartbeat waits no longer for newer figures. */
const FIGURES_MS = 400;
/** The host counts as busy when its last stamp is older. */
const BUSY_MS = 4 * STAMP_MS;
/** Commands that were answered here, remembered lest a repetition is carried out. */
const MAX_MISSED = 1000;

const liveness = new Liveness(data.liveness);
let { hello } = data;
/** Number of the hello the brain has. */
let told = 0;
let figures: Partial<HeartbeatPayload> = {};
let onFigures: (() => void) | undefined;

const log: Log = (() => {
  const known = new Set<string>();
  const say = (level: LogLevel, message: string, cause?: string): void => post({ type: 'log', level, message, cause });
  return {
    error: (message) => say('error', message),
    warn: (message) => say('warn', message),
    info: (message) => say('info', message),
    debug: (message) => say('debug', message),
    once(cause, level, message) {
      if (known.has(cause)) return false;
      known.add(cause);
      say(level, message, cause);
      return true;
    },
    over(cause) {
      const was = known.delete(cause);
      if (was) post({ type: 'over', cause });
      return was;
    },
  };
})();

const journal = openJournalReader(data.journal, (records) => log.warn(`${data.journal.dir}: ${damageText(records)}`));
const flow = data.flow && new Flow({ ...data.flow, log, onWatch: (on) => post({ type: 'watch', on }) });

const link = new Link({
  ...data.link,
  selection: flow,
  journal,
  log,
  hello() {
    told = hello.number;
    return hello.payload;
  },
  heartbeat: async () => {
    post({ type: 'beat', stats: link.stats });
    if (Date.now() - liveness.at < BUSY_MS) {
      const newer = new Promise<void>((resolve) => {
        onFigures = resolve;
      });
      await Promise.race([newer, delay(FIGURES_MS)]);
    }
    return figures;
  },
  onCommand: take,
  onState: () => post({ type: 'state', stats: link.stats }),
  onSession(session) {
    if (session === undefined) {
      post({ type: 'session', session, told, stats: link.stats });
      return;
    }
    const { transport, brainVersion, agentId, projectId, sessionId, clockSkewMs } = session;
    const facts = { transport, brainVersion, agentId, projectId, sessionId, clockSkewMs };
    post({ type: 'session', session: facts, told, stats: link.stats });
  },
  onReplaced: () => post({ type: 'replaced' }),
  onResultWritten: (id) => post({ type: 'written', id }),
});

interface Pending {
  /** Of the last time the brain sent the command. */
  reply: Reply;
  readonly claim: Claim;
  readonly timer: NodeJS.Timeout;
}

const pending = new Map<string, Pending>();
const missed = new Map<string, string>();

function take({ exact: _, ...command }: LinkCommand, reply: Reply): void {
  reply.ack();
  const { id, timeoutSeconds } = command;
  const error = missed.get(id);
  if (error !== undefined) {
    reply.result({ status: 'failed', result: null, error });
    return;
  }
  const known = pending.get(id);
  if (known !== undefined) {
    known.reply = reply;
    return;
  }
  const shared = newClaim();
  const timer = setTimeout(() => miss(id), Math.min(TAKE_MS, (timeoutSeconds * 1000) / 3));
  pending.set(id, { reply, claim: shared, timer });
  post({ type: 'command', command, claim: shared });
}

/** The host did not take the command in time; from here on it never will. */
function miss(id: string): void {
  const entry = pending.get(id);
  if (entry === undefined || !claim(entry.claim)) return;
  pending.delete(id);
  const error = `host thread busy since ${new Date(liveness.at).toISOString()}: the command was not carried out`;
  missed.set(id, error);
  for (const oldest of missed.keys()) {
    if (missed.size <= MAX_MISSED) break;
    missed.delete(oldest);
  }
  entry.reply.result({ status: 'failed', result: null, error });
}

function answer(id: string, result: Parameters<Reply['result']>[0]): void {
  const entry = pending.get(id);
  if (entry === undefined) {
    link.answer(id, result);
    return;
  }
  clearTimeout(entry.timer);
  pending.delete(id);
  entry.reply.result(result);
}

/** Tells the host how a call of its ended. */
function finish(call: number, work: Promise<unknown>): void {
  work.then(
    (value) => post({ type: 'done', call, value }),
    (cause: unknown) => post({ type: 'failed', call, reason: cause instanceof Error ? cause.message : String(cause) }),
  );
}

async function send(sessionId: string, records: readonly Uint8Array[]): Promise<unknown> {
  const { session } = link;
  if (session?.sessionId !== sessionId) throw new Error('the connection has ended');
  return session.sendEvents(records);
}

async function stop(timeoutMs: number): Promise<void> {
  await link.stop({ timeoutMs });
  journal.close();
  process.exit(0);
}

port.on('message', (message: HostMessage) => {
  switch (message.type) {
    case 'hello':
      hello = message.hello;
      break;
    case 'reconnect':
      link.reconnect(message.reason);
      break;
    case 'figures':
      figures = message.figures;
      onFigures?.();
      break;
    case 'flush':
      journal.expect(message.end);
      finish(message.call, link.flush(message.timeoutMs));
      break;
    case 'send':
      finish(message.call, send(message.sessionId, message.records));
      break;
    case 'notes':
      for (let at = 0; at < message.notes.length; at += 3) {
        const [kind, task, remarkable] = message.notes.slice(at, at + 3) as [number, number, number];
        flow?.note(kind, task, remarkable === 1);
      }
      break;
    case 'answer':
      answer(message.id, message.answer);
      break;
    case 'stop':
      journal.expect(message.end);
      void stop(message.timeoutMs);
  }
});

link.start();
