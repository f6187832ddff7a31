import { Agent, request } from 'node:http';
import { quietly } from '../quiet.js';
import { LinkError } from './errors.js';
import { type Environment, openSocket } from './socket.js';

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: { readonly [name: string]: string };
  readonly body?: Buffer;
  readonly timeoutMs: number;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: { readonly [name: string]: string | string[] | undefined };
  readonly body: string;
}

/** Commands of a brain come in answers of at most 500 frames. */
const MAX_ANSWER = 16 * 1024 * 1024;

/** A few kept connections to one brain, through the proxy the environment names; none keeps the process alive. */
export class HttpClient {
  readonly #agent: Agent;

  constructor(origin: URL, env: Environment, handshakeMs: number) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: 3 });
    // Sockets come encrypted from `openSocket`, so plain HTTP is spoken over them.
    this.#agent.createConnection = (_options, done) => {
      openSocket(origin, { env, timeoutMs: handshakeMs }).then(
        (socket) => done?.(null, socket),
        (cause) => done?.(cause as Error, undefined as never),
      );
      return undefined;
    };
  }

  /** Rejects with `LinkError` `unreachable` or `lost`. Every HTTP status is an answer. */
  send({ method, url, headers, body, timeoutMs }: HttpRequest): Promise<HttpResponse> {
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown): void => {
        clearTimeout(timer);
        reject(cause instanceof LinkError ? cause : new LinkError('lost', (cause as Error).message, { cause }));
      };
      const outgoing = quietly(() =>
        request({
          method,
          host: url.hostname,
          path: url.pathname + url.search,
          agent: this.#agent,
          headers: { ...headers, host: url.host, ...(body === undefined ? {} : { 'content-length': body.length }) },
        }),
      );
      const timer = setTimeout(
        () => outgoing.destroy(new LinkError('lost', `the brain did not answer within ${timeoutMs} ms`)),
        timeoutMs,
      ).unref();
      // The agent of Node refs a socket whenever it is used again.
      outgoing.on('socket', (socket) => socket.unref());
      outgoing.on('error', fail);
      outgoing.on('response', (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_ANSWER) outgoing.destroy(new LinkError('lost', 'the answer of the brain is too large'));
          else chunks.push(chunk);
        });
        response.on('error', fail);
        response.on('end', () => {
          clearTimeout(timer);
          const { statusCode: status = 0, headers: received } = response;
          resolve({ status, headers: received, body: Buffer.concat(chunks).toString('utf8') });
        });
      });
      outgoing.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
