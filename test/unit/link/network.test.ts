import dns from 'node:dns';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import type { TransportName } from '../../../src/link/index.js';
import { type StubBrain, stubBrain } from '../../../src/testing/index.js';
import { CERTIFICATE, KEY } from './certificate.js';
import { append, rig } from './support.js';

const folder = mkdtempSync(join(tmpdir(), 'z4j-link-'));
const certificateFile = join(folder, 'ca.pem');
const servers: Server[] = [];
const sockets = new Set<Socket>();
let brain: StubBrain;

beforeAll(() => writeFileSync(certificateFile, CERTIFICATE));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(async () => {
  vi.restoreAllMocks();
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
  await brain.close();
});

function join2(a: Socket, b: Socket): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    sockets.add(from);
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
    from.pipe(to);
  }
}

async function listen(server: Server): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}

/** Speaks TLS as brain.test in front of the stub. */
function terminator(): Promise<number> {
  return listen(
    createTlsServer({ key: KEY, cert: CERTIFICATE }, (socket) =>
      join2(socket, connect(Number(new URL(brain.url).port), '127.0.0.1')),
    ).on('tlsClientError', () => undefined) as unknown as Server,
  );
}

/** An HTTP proxy that knows one host, brain.test, which is this machine. */
async function proxy(asked: string[], status = '200 Connection established'): Promise<string> {
  const port = await listen(
    createServer((client) => {
      sockets.add(client);
      client.on('error', () => undefined);
      let head = '';
      client.on('data', function read(chunk) {
        head += chunk.toString('latin1');
        if (!head.includes('\r\n\r\n')) return;
        client.off('data', read);
        asked.push(head.slice(0, head.indexOf(' HTTP')), /Proxy-Authorization: (.*)\r/.exec(head)?.[1] ?? '');
        client.write(`HTTP/1.1 ${status}\r\nVia: test\r\n\r\n`);
        if (!status.startsWith('200')) return;
        const target = Number(/CONNECT brain\.test:(\d+)/.exec(head)?.[1]);
        join2(client, connect(target, '127.0.0.1'));
      });
    }),
  );
  return `http://user:pass@127.0.0.1:${port}`;
}

test.each(['ws', 'longpoll'] satisfies TransportName[])(
  '%s passes a proxy and TLS with an authority of its own',
  async (transport) => {
    brain = await stubBrain();
    const port = await terminator();
    const asked: string[] = [];
    const env = { HTTPS_PROXY: await proxy(asked), SSL_CERT_FILE: certificateFile };
    await using on = rig(
      { ...brain, url: `https://brain.test:${port}`, token: brain.token, secret: brain.secret },
      { env, transport },
    );
    append(on.journal, 10);
    on.link.start();
    await brain.until(() => brain.events.length === 10);
    expect(asked.slice(0, 2)).toEqual([`CONNECT brain.test:${port}`, `Basic ${btoa('user:pass')}`]);
  },
);

test('an unknown authority is refused and named', async () => {
  brain = await stubBrain();
  const port = await terminator();
  const env = { HTTPS_PROXY: await proxy([]) };
  await using on = rig({ url: `https://brain.test:${port}`, token: brain.token, secret: brain.secret }, { env });
  on.link.start();
  await expect.poll(() => on.lines[0]).toMatch(/self-signed certificate.*NODE_EXTRA_CA_CERTS or SSL_CERT_FILE/);
  expect(brain.hellos).toEqual([]);
});

test('an encrypted address where nobody speaks TLS is named', async () => {
  brain = await stubBrain();
  const url = brain.url.replace(/^\w+:/, 'https:');
  await using on = rig({ url, token: brain.token, secret: brain.secret });
  on.link.start();
  await expect
    .poll(() => on.lines[0])
    .toMatch(/: nobody speaks TLS there \(ERR_SSL_WRONG_VERSION_NUMBER\); check Z4J_BRAIN_URL/);
  expect(on.lines.join()).not.toMatch(/\n.|openssl/);
});

test('every address of a host that refuses is named', async () => {
  brain = await stubBrain();
  vi.spyOn(dns, 'lookup').mockImplementation(((_name: string, _how: object, done: (...found: unknown[]) => void) =>
    done(null, [
      { address: '127.0.0.1', family: 4 },
      { address: '127.0.0.2', family: 4 },
    ])) as unknown as typeof dns.lookup);
  await using on = rig({ url: 'https://brain.test:9', token: brain.token, secret: brain.secret });
  on.link.start();
  await expect
    .poll(() => on.lines[0])
    .toMatch(/: connect ECONNREFUSED 127\.0\.0\.1:9, connect E\w+ 127\.0\.0\.2:9; check/);
});

test('a certificate of another host is refused', async () => {
  brain = await stubBrain();
  const port = await terminator();
  await using on = rig(
    { url: `https://127.0.0.1:${port}`, token: brain.token, secret: brain.secret },
    {
      env: { SSL_CERT_FILE: certificateFile },
    },
  );
  on.link.start();
  await expect.poll(() => on.lines[0]).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
  expect(brain.hellos).toEqual([]);
});

test('a proxy that refuses is named', async () => {
  brain = await stubBrain();
  const env = { HTTPS_PROXY: await proxy([], '407 Proxy Authentication Required') };
  await using on = rig({ url: 'https://brain.test', token: brain.token, secret: brain.secret }, { env });
  on.link.start();
  await expect
    .poll(() => on.lines[0])
    .toMatch(/the proxy 127\.0\.0\.1:\d+ refused the connection to brain\.test:443 \(407\)/);
  expect(on.lines[0]).not.toContain('pass@');
});

test('certificates that cannot be read are named', async () => {
  brain = await stubBrain();
  await using on = rig(
    { url: 'https://brain.test', token: brain.token, secret: brain.secret },
    {
      env: { SSL_CERT_FILE: join(folder, 'none.pem') },
    },
  );
  on.link.start();
  await expect.poll(() => on.lines[0]).toContain('none.pem cannot be read');
});

test('a host that accepts and says nothing is given up in time', async () => {
  brain = await stubBrain();
  const port = await listen(createServer((socket) => void sockets.add(socket)));
  await using on = rig(
    { url: `http://127.0.0.1:${port}`, token: brain.token, secret: brain.secret },
    {
      transport: 'ws',
      times: { handshake: 200 },
    },
  );
  on.link.start();
  await expect.poll(() => on.lines[0]).toContain('did not answer within 200 ms');
});
