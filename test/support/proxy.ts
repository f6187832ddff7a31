import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

/** `up` is from the agent to the brain. */
type Way = 'up' | 'down';

/** What goes wrong on the way, for as long as it is set. */
export interface Trouble {
  /** Nothing passes this way; nobody is told. */
  readonly stall?: Way | 'both';
  /** Every chunk arrives so much later, in milliseconds. */
  readonly latencyMs?: number;
  readonly bytesPerSecond?: number;
  /** Every byte arrives alone. */
  readonly byteByByte?: boolean;
  /** Upgrades to WebSocket are answered with this HTTP status; other requests pass. */
  readonly refuseUpgrade?: number;
  /** One bit of the next chunk of 200 bytes and more is another one. */
  readonly tamper?: Way;
  /** The next chunk of 200 bytes and more arrives by half; then the connection is reset. */
  readonly cut?: Way;
}

/** A TCP proxy on 127.0.0.1 between an agent and a brain that has the faults of real networks. */
export interface BadNetwork {
  readonly port: number;
  /** `http://127.0.0.1:<port>`. */
  readonly url: string;
  /** Connections accepted so far. */
  readonly accepted: number;
  /** Connections that are open now. */
  readonly open: number;
  /** Ends all trouble but this, and `refuse`. */
  trouble(trouble?: Trouble): Promise<void>;
  /** Nobody listens any more; open connections stay. */
  refuse(): Promise<void>;
  /** Every connection ends with a RST on both sides. */
  reset(): void;
  /** The brain's side ends; the agent's stays open and hears nothing any more, not even a FIN. */
  halfOpen(): void;
  /** Where new connections go from now on. */
  target: number;
  close(): Promise<void>;
}

interface Pair {
  readonly agent: Socket;
  readonly brain: Socket;
}

export async function startProxy(target: number): Promise<BadNetwork> {
  const pairs = new Set<Pair>();
  const orphans = new Set<Socket>();
  let trouble: Trouble = {};
  let accepted = 0;

  const reset = (pair: Pair): void => {
    pairs.delete(pair);
    pair.agent.resetAndDestroy();
    pair.brain.resetAndDestroy();
  };

  /** Passes a chunk on, as slowly and damaged as it must be; false when the connection is over. */
  const pass = async (chunk: Buffer, way: Way, pair: Pair): Promise<boolean> => {
    const to = way === 'up' ? pair.brain : pair.agent;
    while (trouble.stall === way || trouble.stall === 'both') {
      await sleep(5);
      if (!pairs.has(pair)) return false;
    }
    const { latencyMs, tamper, cut } = trouble;
    if (latencyMs !== undefined) await sleep(latencyMs);
    if (cut === way && chunk.length >= 200) {
      trouble = {};
      await new Promise((done) => to.write(chunk.subarray(0, chunk.length / 2), done));
      reset(pair);
      return false;
    }
    if (tamper === way && chunk.length >= 200) {
      trouble = {};
      const at = chunk.length - 20;
      chunk[at] = (chunk[at] ?? 0) ^ 1;
    }
    for (let at = 0; at < chunk.length && pairs.has(pair); ) {
      const { byteByByte, bytesPerSecond } = trouble;
      const part = chunk.subarray(at, at + (byteByByte ? 1 : bytesPerSecond !== undefined ? 1024 : chunk.length));
      to.write(part);
      at += part.length;
      if (byteByByte) await nextTurn();
      else if (bytesPerSecond !== undefined) await sleep((part.length / bytesPerSecond) * 1000);
    }
    return pairs.has(pair);
  };

  const carry = async (way: Way, pair: Pair): Promise<void> => {
    const [from, to] = way === 'up' ? [pair.agent, pair.brain] : [pair.brain, pair.agent];
    let first = way === 'up';
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        if (orphans.has(from)) continue;
        if (first && trouble.refuseUpgrade !== undefined && /^upgrade: websocket/im.test(chunk.toString('latin1'))) {
          from.end(`HTTP/1.1 ${trouble.refuseUpgrade} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
          pairs.delete(pair);
          to.destroy();
          return;
        }
        first = false;
        if (!(await pass(chunk, way, pair))) {
          if (orphans.has(from)) continue;
          return;
        }
      }
      if (pairs.has(pair)) to.end();
    } catch {
      if (pairs.has(pair)) reset(pair);
    } finally {
      orphans.delete(from);
    }
  };

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (agent) => {
    accepted++;
    const brain = connect({ host: '127.0.0.1', port: proxy.target, noDelay: true, allowHalfOpen: true });
    const pair = { agent, brain };
    pairs.add(pair);
    for (const socket of [agent, brain]) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        if (agent.closed && brain.closed) pairs.delete(pair);
      });
    }
    brain.once('error', () => reset(pair));
    void carry('up', pair);
    void carry('down', pair);
  });
  const listen = async (port: number): Promise<number> => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as { port: number }).port;
  };
  const port = await listen(0);

  const proxy: BadNetwork = {
    port,
    url: `http://127.0.0.1:${port}`,
    target,
    get accepted() {
      return accepted;
    },
    get open() {
      return pairs.size;
    },
    async trouble(next = {}) {
      trouble = next;
      if (!server.listening) await listen(port);
    },
    async refuse() {
      // Its callback would wait for the connections.
      if (server.listening) server.close();
    },
    reset() {
      for (const pair of [...pairs]) reset(pair);
    },
    halfOpen() {
      for (const pair of [...pairs]) {
        pairs.delete(pair);
        orphans.add(pair.agent);
        pair.brain.destroy();
      }
    },
    async close() {
      trouble = {};
      const closed = server.listening ? new Promise((done) => server.close(done)) : undefined;
      for (const { agent, brain } of pairs) for (const socket of [agent, brain]) socket.destroy();
      for (const socket of orphans) socket.destroy();
      pairs.clear();
      await closed;
    },
  };
  return proxy;
}
