import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { installTarget } from '../targets.mjs';
import { createCommands, type Mingo } from './commands.js';
import { type Bson, requestReader } from './wire.js';

export interface Mongo {
  /** Of a database of its own. */
  url(): string;
  /** Closes connections and refuses new ones; `true` again accepts them. */
  reachable(yes: boolean): void;
  stop(): Promise<void>;
}

/** The server at `MONGO_URL`, or else a stand-in that speaks the wire protocol and keeps its documents in memory. */
export async function startMongo(): Promise<Mongo> {
  const { MONGO_URL } = process.env;
  const named = (base: string): string => {
    const url = new URL(base);
    url.pathname = `/z4j-${randomUUID()}`;
    return url.href;
  };
  if (MONGO_URL) return { url: () => named(MONGO_URL), reachable: () => {}, stop: async () => {} };

  const folder = await installTarget('mongo-substitute', { bson: '6.10.4', mingo: '7.1.1' });
  const load = createRequire(join(folder, 'load.js'));
  const bson = load('bson') as Bson;
  const answer = createCommands(bson, load('mingo') as Mingo);
  const sockets = new Set<Socket>();
  let refuses = false;
  const server = createServer((socket) => {
    if (refuses) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    const read = requestReader(bson);
    socket.on('data', (chunk) => {
      for (const { body, reply } of read(chunk)) {
        const result = answer(body);
        if (reply !== undefined) socket.write(reply(result));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const drop = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: () => named(`mongodb://127.0.0.1:${port}/`),
    reachable(yes) {
      refuses = !yes;
      if (refuses) drop();
    },
    async stop() {
      drop();
      server.close();
      await once(server, 'close');
    },
  };
}
