import dns from 'node:dns';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Misbehaviour, type StubBrain, stubBrain } from '../../src/testing/index.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type BadNetwork, startProxy, type Trouble } from '../support/proxy.js';
import { type Redis, startRedis } from '../support/redis.js';
import { target } from '../support/targets.mjs';
import { CERTIFICATE, KEY } from '../unit/link/certificate.js';
import { WRONG } from './certificates.js';
import {
  Arrivals,
  type BullMQ,
  childHost,
  expectedOf,
  finished,
  type Host,
  heap,
  type LocalHost,
  loadBullMQ,
  startLocalHost,
} from './host.js';

const COUNT = 40;
const root = mkdtempSync(join(tmpdir(), 'z4j-faults-'));
const portOf = (brain: StubBrain): number => Number(new URL(brain.url).port);

let redis: Redis;
let folder: string;
let bullmq: BullMQ;

beforeAll(async () => {
  [redis, folder] = await Promise.all([startRedis(), target('bullmq-5.81.5')]);
  bullmq = loadBullMQ(folder);
});

afterAll(async () => {
  await redis?.stop();
  rmSync(root, { recursive: true, force: true });
});

/** A brain behind a bad network, and a host that is under load while it is bad. */
interface Scene {
  brain: StubBrain;
  readonly proxy: BadNetwork;
  host: Host;
  readonly arrivals: Arrivals;
  /** Connections, greetings and events before the fault. */
  before: { accepted: number; hellos: number; events: number };
}

interface Fault {
  begin(scene: Scene): unknown;
  /** Resolves when the fault had its effect; the host's jobs are done by then. */
  lasts?: (scene: Scene) => Promise<unknown>;
  end?: (scene: Scene) => unknown;
  /** For what hinders nothing for good: the end comes when everything has arrived all the same. */
  hinders?: false;
}

async function startScene(): Promise<Omit<Scene, 'host'>> {
  const brain = await stubBrain();
  const proxy = await startProxy(portOf(brain));
  return { brain, proxy, arrivals: new Arrivals(brain), before: { accepted: 0, hellos: 0, events: 0 } };
}

let round = 0;

/** Jobs run before and during a fault; after it everything has to be at the brain, in order, once. */
async function survive(scene: Scene, { begin, lasts, end, hinders }: Fault): Promise<void> {
  const prefix = `j${++round}`;
  const { host, arrivals, proxy } = scene;
  const expected = expectedOf(host, prefix, COUNT);
  const adding = host.add(prefix, COUNT);
  await scene.brain.until(() => Object.keys(expected).some((id) => arrivals.of(id).length > 0), 15_000);
  const { hellos, events } = scene.brain;
  scene.before = { accepted: proxy.accepted, hellos: hellos.length, events: events.length };
  await begin(scene);
  await adding;
  await finished(bullmq, redis.port, host, prefix, COUNT);
  await lasts?.(scene);
  if (hinders !== false) await end?.(scene);
  const arrived = (): object => Object.fromEntries(Object.keys(expected).map((id) => [id, arrivals.of(id)]));
  const complete = (): boolean =>
    Object.entries(expected).every(([id, kinds]) => arrivals.of(id).length >= kinds.length);
  await waitFor(complete, { timeout: 20_000 }).catch(() => undefined);
  expect(arrived()).toEqual(expected);
  if (hinders === false) await end?.(scene);
}

const trouble =
  (what?: Trouble) =>
  ({ proxy }: Scene): Promise<void> =>
    proxy.trouble(what);

const greeted =
  (times = 1) =>
  ({ brain, before }: Scene): Promise<void> =>
    brain.until(() => brain.hellos.length >= before.hellos + times, 20_000);

const tried =
  (times = 1) =>
  ({ proxy, before }: Scene): Promise<true> =>
    waitFor(() => proxy.accepted >= before.accepted + times, { timeout: 20_000 });

const gone = ({ brain }: Scene): Promise<void> => brain.until(() => brain.connections === 0, 20_000);

const during = (what: Trouble, lasts?: Fault['lasts']): Fault => ({
  begin: trouble(what),
  ...(lasts && { lasts }),
  end: trouble(),
});

const brainThat = (change: Misbehaviour, lasts?: Fault['lasts']): Fault => ({
  begin: ({ brain }) => brain.misbehave(change),
  ...(lasts && { lasts }),
  end: ({ brain }) => brain.misbehave(Object.fromEntries(Object.keys(change).map((key) => [key, undefined]))),
});

/** Another brain with the same token and secret, which knows nothing. */
async function loseData(scene: Scene): Promise<void> {
  const { token, secret } = scene.brain;
  await scene.brain.close();
  scene.brain = await stubBrain({ token, secret });
  scene.arrivals.watch(scene.brain);
  scene.proxy.target = portOf(scene.brain);
}

/** Faults of the way: the agent has the times it has in production. */
const WAY: { readonly [name: string]: Fault } = {
  'connections that are reset': { begin: ({ proxy }) => proxy.reset(), lasts: greeted() },
  'connections that are refused': {
    async begin({ proxy }) {
      await proxy.refuse();
      proxy.reset();
    },
    lasts: gone,
    end: trouble(),
  },
  'a stall both ways': during({ stall: 'both' }),
  'a stall towards the brain': during({ stall: 'up' }),
  'a stall towards the agent': during({ stall: 'down' }),
  'a frame of the agent cut in the middle': { begin: trouble({ cut: 'up' }), lasts: greeted() },
  'a frame of the brain cut in the middle': { begin: trouble({ cut: 'down' }), lasts: greeted() },
  '1 byte at a time': during({ byteByByte: true }, ({ brain, before }) =>
    brain.until(() => brain.events.length > before.events + COUNT, 20_000),
  ),
  '10 KB a second': { ...during({ bytesPerSecond: 10_000 }), hinders: false },
  // Of two seconds the tests make a half: there is a handshake, and the load, in it.
  'half a second of latency': { ...during({ latencyMs: 500 }), hinders: false },
  'a frame of the brain tampered with': { begin: trouble({ tamper: 'down' }), lasts: greeted() },
  'a frame of the agent tampered with': { begin: trouble({ tamper: 'up' }), lasts: greeted() },
  'a brain restarted on the same data': {
    async begin({ brain, proxy }) {
      await proxy.refuse();
      brain.disconnect(1012);
    },
    lasts: gone,
    end: trouble(),
  },
  'a brain restarted with its data lost': { begin: loseData },
  // The last one: back to WebSocket it goes after minutes.
  'upgrades that are refused': {
    async begin({ proxy }) {
      await proxy.trouble({ refuseUpgrade: 501 });
      proxy.reset();
    },
    lasts: ({ brain }) => brain.until(() => brain.connections > 0, 20_000),
    end: trouble(),
  },
};

/** Faults that only short times of the agent can show, and those of a brain. */
const BRAIN: { readonly [name: string]: Fault } = {
  'connections that are half open': { begin: ({ proxy }) => proxy.halfOpen(), lasts: greeted() },
  'a stall for good': during({ stall: 'both' }, tried(2)),
  'acks that are lost': brainThat({ noAck: true }, greeted()),
  // As five seconds of the ninety that an ack may take.
  'acks that are slow': { ...brainThat({ slowAckMs: 300 }), hinders: false },
  'acks that are duplicated': { ...brainThat({ duplicateAcks: true }), hinders: false },
  'acks out of order': { ...brainThat({ reverseAcks: 2 }), hinders: false },
  'acks for unknown ids': { ...brainThat({ unknownAcks: true }), hinders: false },
  'frames of the brain replayed': brainThat({ replay: true }, greeted()),
  'frames of the brain with a wrong signature': brainThat({ wrongSignature: true }, greeted()),
  'a frame of an unknown type': { begin: ({ brain }) => brain.send('novelty', { any: 1.5 }) },
  'a frame of 2 MiB': { begin: ({ brain }) => brain.send('novelty', { filler: 'x'.repeat(2 << 20) }) },
  'a brain five minutes ahead': brainThat({ clockOffsetMs: 300_000 }, greeted(2)),
  'a brain five minutes behind': brainThat({ clockOffsetMs: -300_000 }, greeted(2)),
  'upgrades that are refused': brainThat({ refuseUpgrade: 404 }),
};

describe('a worker process', () => {
  let scene: Scene;
  let child: Child;
  let warm = 0;
  const start = async (): Promise<void> => {
    child = await runChild({
      target: folder,
      program: fileURLToPath(new URL('./fixtures/worker.mjs', import.meta.url)),
      args: [new URL('./fixtures/jobs.mjs', import.meta.url).href, 'child', `${redis.port}`],
      env: {
        ...scene.brain.env,
        Z4J_BRAIN_URL: scene.proxy.url,
        Z4J_HOME: join(root, 'child'),
        Z4J_SERVICE_NAME: 'faults',
        Z4J_DELIVERY: 'complete',
      },
    });
    await child.printed('ready', 30_000);
  };
  const rss = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024;

  beforeAll(async () => {
    scene = { ...(await startScene()), host: childHost(bullmq, redis.port, 'child') };
    await start();
    await survive(scene, { begin: () => undefined });
    warm = rss();
  });

  afterAll(async () => {
    await child?.[Symbol.asyncDispose]();
    await scene?.proxy.close();
    await scene?.brain.close();
  });

  test.each(Object.keys(WAY))('survives %s', (name) => survive(scene, WAY[name] as Fault));

  test('has its memory back, said little and ends as it would have', async () => {
    expect(rss() - warm).toBeLessThan(50);
    child.kill('SIGTERM');
    expect(await child.ended()).toEqual({ code: 0, signal: null });
    const lines = child.stderr().split('\n').filter(Boolean);
    expect(lines.filter((line) => !line.startsWith('z4j: '))).toEqual([]);
    expect(lines.length).toBeLessThan(Object.keys(WAY).length);
  });

  test('sends what an agent with a revoked token could not, with a new one', async () => {
    await start();
    const old = scene.brain;
    await survive(scene, {
      begin() {
        old.misbehave({ closeWith: 4401 });
        old.disconnect(4003);
      },
      async end({ proxy, arrivals }) {
        child.kill('SIGTERM');
        expect(await child.ended()).toEqual({ code: 0, signal: null });
        expect(child.stderr()).toMatch(/^z4j: warn: the brain revoked the token.*\n$/);
        scene.brain = await stubBrain({ secret: old.secret });
        arrivals.watch(scene.brain);
        proxy.target = portOf(scene.brain);
        await start();
      },
    });
    await old.close();
  });
});

describe('an agent with short times', () => {
  const FAST = {
    link: {
      times: { ack: 1500, handshake: 500, proof: 50, upgradeRetry: 500, poll: 1000 },
      backoff: { scale: 0.002 },
    },
  };
  let scene: Scene;
  let host: LocalHost;
  let warm = 0;
  const options = (more: object = {}) => ({
    token: scene.brain.token,
    hmacSecret: scene.brain.env.Z4J_HMAC_SECRET,
    brainUrl: scene.proxy.url,
    ...more,
  });

  beforeAll(async () => {
    host = await startLocalHost(bullmq, { home: join(root, 'local'), redisPort: redis.port, name: 'local' });
    scene = { ...(await startScene()), host };
    await host.connect(options(), FAST);
    await survive(scene, { begin: () => undefined });
    warm = heap();
  });

  afterAll(async () => {
    await host?.close();
    await scene?.proxy.close();
    await scene?.brain.close();
  });

  afterEach(async () => {
    await waitFor(() => host.kept === 0 && host.link.unacked === 0, { what: () => JSON.stringify(host.link) });
    expect(host.link.givenUp).toBe(0);
  });

  test.each(Object.keys(BRAIN))('survives %s', (name) => survive(scene, BRAIN[name] as Fault));

  test.each([1000, 1001, 1006, 1011, 1012, 4002, 4003, 4400, 4401, 4403, 4408, 4426, 4427, 4429])(
    'survives a close with %i, and again at once',
    (code) =>
      survive(scene, {
        begin({ brain }) {
          if (code === 1006) brain.drop();
          else {
            brain.misbehave({ closeWith: code });
            brain.disconnect(code);
          }
        },
        lasts: tried(2 - Number(code === 1006)),
        end: ({ brain }) => brain.misbehave({ closeWith: undefined }),
      }),
  );

  test('survives a storm of 429', async () => {
    await survive(scene, {
      begin({ brain }) {
        brain.misbehave({ closeWith: 4429 });
        brain.disconnect(4429);
      },
      lasts: tried(8),
      end: ({ brain }) => brain.misbehave({ closeWith: undefined }),
    });
    await host.connect(options({ transport: 'longpoll' }), FAST);
    const refused = scene.brain.refusals.length;
    const began = performance.now();
    await survive(scene, {
      begin: ({ brain }) => brain.misbehave({ httpStatus: 429, retryAfter: 0 }),
      lasts: ({ brain }) => brain.until(() => brain.refusals.length >= refused + 8, 20_000),
      end: ({ brain }) => brain.misbehave({ httpStatus: undefined }),
    });
    // What may be asked again at once is not asked again all the time.
    const seconds = (performance.now() - began) / 1000;
    expect((scene.brain.refusals.length - refused) / seconds).toBeLessThan(100);
    await host.connect(options(), FAST);
  });

  test('survives a brain whose name nobody knows', async () => {
    let known = true;
    let asked = 0;
    const lookup = vi.spyOn(dns, 'lookup').mockImplementation(((_name: string, how: object, done: unknown) => {
      asked++;
      const answer = (typeof how === 'function' ? how : done) as (...found: unknown[]) => void;
      if (!known) answer(Object.assign(new Error('getaddrinfo ENOTFOUND brain.test'), { code: 'ENOTFOUND' }));
      else if ('all' in how && how.all === true) answer(null, [{ address: '127.0.0.1', family: 4 }]);
      else answer(null, '127.0.0.1', 4);
    }) as unknown as typeof dns.lookup);
    try {
      const brainUrl = `http://brain.test:${scene.proxy.port}`;
      await host.connect(options({ brainUrl, allowInsecure: true }), FAST);
      await survive(scene, {
        begin({ proxy }) {
          known = false;
          asked = 0;
          proxy.reset();
        },
        lasts: () => waitFor(() => asked > 2),
        end() {
          known = true;
        },
      });
      expect(host.lines.filter((line) => line.includes('ENOTFOUND'))).toHaveLength(1);

      const file = join(root, 'ca.pem');
      writeFileSync(file, CERTIFICATE);
      let refused = 0;
      const tls = createTlsServer({ key: KEY, cert: CERTIFICATE }, (socket) => {
        const through = connect(scene.proxy.port, '127.0.0.1');
        for (const end of [socket, through]) end.on('error', () => end.destroy());
        socket.pipe(through).pipe(socket);
      }).on('tlsClientError', () => refused++);
      await once(tls.listen(0, '127.0.0.1'), 'listening');
      const { port } = tls.address() as AddressInfo;
      await host.connect(options({ brainUrl: `https://brain.test:${port}` }), {
        link: { ...FAST.link, env: { SSL_CERT_FILE: file } },
      });
      await survive(scene, {
        begin({ proxy }) {
          tls.setSecureContext(WRONG);
          proxy.reset();
        },
        lasts: () => waitFor(() => refused > 1),
        end: () => tls.setSecureContext({ key: KEY, cert: CERTIFICATE }),
      });
      tls.close();
    } finally {
      lookup.mockRestore();
      await host.connect(options(), FAST);
    }
  });

  test('has its memory back', () => {
    expect(heap() - warm).toBeLessThan(30);
  });
});
