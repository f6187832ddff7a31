import type { RawData, WebSocket } from 'ws';
import { type AgentFrame, BrainWire, newId, Refusal, readHello, type StubHello } from './brain-wire.js';
import { commandPayload } from './longpoll.js';
import type { BrainState, CommandRow } from './state.js';

const bytes = (data: RawData): Buffer =>
  Buffer.isBuffer(data) ? data : Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);

/** One connected process, from hello to close. */
export class Connection {
  readonly id = newId();
  hello: StubHello | undefined;
  readonly #socket: WebSocket;
  readonly #state: BrainState;
  #wire: BrainWire | undefined;
  #held: (() => void)[] = [];
  /** The one consumer: frames are taken in one after the other. */
  #work: Promise<void> | undefined;

  constructor(socket: WebSocket, state: BrainState) {
    this.#socket = socket;
    this.#state = state;
    socket.on('message', (data) => {
      // Who was shown the door is not listened to any more, whatever was on its way.
      if (socket.readyState === socket.OPEN) this.#guarded(() => this.#read(bytes(data)));
    });
    socket.on('error', () => socket.terminate());
    socket.on('close', () => state.disconnected(this));
  }

  /** Closes with a code; undefined cuts the socket without a word. */
  close(code?: number): void {
    if (code === undefined) this.#socket.terminate();
    else this.#socket.close(code);
  }

  /** Sends a signed frame; false before the hello. */
  send(type: string, id: string, payload: object): boolean {
    if (this.#wire === undefined) return false;
    const { wrongSignature, replay } = this.#state.behaviour;
    const frame = this.#wire.write(type, id, payload);
    // The last digit: of the signature.
    if (wrongSignature) frame[frame.length - 3] = (frame[frame.length - 3] as number) ^ 1;
    this.raw(frame);
    if (replay) this.raw(frame);
    return true;
  }

  /** Sends anything, signed or not. */
  raw(data: string | Uint8Array): void {
    if (this.#socket.readyState === this.#socket.OPEN)
      this.#socket.send(typeof data === 'string' ? Buffer.from(data) : data);
  }

  /** Sends a command and remembers that it is out. */
  command(row: CommandRow): void {
    const sent = this.send('command', row.id, commandPayload(row));
    if (sent) row.dispatched = true;
  }

  #guarded(step: () => void): void {
    try {
      step();
    } catch (cause) {
      if (!(cause instanceof Refusal)) throw cause;
      this.#state.refused(`${cause.code}: ${cause.message}`);
      this.close(cause.code);
    }
  }

  #read(raw: Buffer): void {
    if (raw.length > this.#state.maxFrameBytes) throw new Refusal(4400, `a frame of ${raw.length} bytes`);
    if (this.#wire === undefined) this.#greet(readHello(raw));
    else this.#take(this.#wire.read(raw), raw.length);
  }

  #greet(hello: StubHello): void {
    const state = this.#state;
    if (state.behaviour.noHelloAck) return;
    const ids = { agentId: state.agentId, projectId: state.projectId, sessionId: this.id };
    this.#wire = new BrainWire(state.secret, ids, () => state.now());
    this.hello = hello;
    this.raw(
      JSON.stringify({
        v: 2,
        type: 'hello_ack',
        id: newId(),
        ts: new Date(state.now()).toISOString(),
        payload: {
          protocol_version: '2',
          brain_version: state.brainVersion,
          agent_id: ids.agentId,
          project_id: ids.projectId,
          session_id: ids.sessionId,
          heartbeat_interval_seconds: state.heartbeatSeconds,
          max_frame_size_bytes: state.maxFrameBytes,
        },
      }),
    );
    state.connected(this, hello);
  }

  #take(frame: AgentFrame, size: number): void {
    const state = this.#state;
    if (frame.type !== 'event_batch' || state.eventsPerSecond === undefined) {
      if (this.#work === undefined) this.#handle(frame, size);
      else this.#work = this.#work.then(() => this.#guarded(() => this.#handle(frame, size)));
      return;
    }
    const events = Array.isArray(frame.payload.events) ? frame.payload.events.length : 0;
    const delay = (events / state.eventsPerSecond) * 1000;
    const work = (this.#work ?? Promise.resolve())
      .then(() => state.pause(delay))
      .then(() => {
        this.#guarded(() => this.#handle(frame, size));
        if (this.#work === work) this.#work = undefined;
      });
    this.#work = work;
  }

  #handle(frame: AgentFrame, size: number): void {
    if (frame.type !== 'event_batch') {
      this.#state.take(frame);
      return;
    }
    const { received, accepted, withheld } = this.#state.batch(frame, size);
    const ack = { acked_id: frame.id, received, accepted, rejected: received - accepted };
    const { noAck, slowAckMs, reverseAcks, duplicateAcks, unknownAcks } = this.#state.behaviour;
    if (noAck || withheld) return;
    const send = (): void => {
      if (unknownAcks) this.send('event_batch_ack', `eba_${newId()}`, { ...ack, acked_id: newId() });
      this.send('event_batch_ack', `eba_${frame.id}`, ack);
      if (duplicateAcks) this.send('event_batch_ack', `eba_${frame.id}`, ack);
    };
    if (reverseAcks !== undefined) {
      this.#held.push(send);
      if (this.#held.length < reverseAcks) return;
      for (const held of this.#held.reverse()) held();
      this.#held = [];
    } else if (slowAckMs !== undefined) {
      void this.#state.pause(slowAckMs).then(send);
    } else {
      send();
    }
  }
}
