import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Agent, AgentError } from '../../src/agent.js';
import type { Command, Engine, EngineHost } from '../../src/engine.js';
import { hub } from '../../src/hub.js';
import { type StubBrain, stubBrain } from '../../src/testing/index.js';

vi.mock('../../src/thread/entry.js', () => import('./thread/worker.js'));

/** An engine with one worker that reports what it is told to. */
class FakeEngine implements Engine {
  readonly version = '1.0.0';
  readonly commands: Command[] = [];
  host: EngineHost | undefined;
  constructor(readonly name: string) {}
  actions() {
    return ['cancel_task' as const];
  }
  inventory() {
    return { queues: ['mail'], tasks: ['send'], workers: [this.host?.workerName('mail') ?? ''] };
  }
  start(host: EngineHost) {
    this.host = host;
    this.#tell('worker.online');
  }
  stop() {
    this.#tell('worker.offline');
  }
  async execute(command: Command) {
    this.commands.push(command);
    return { done: command.action };
  }
  async health() {
    return {
      queueDepths: { mail: 3 },
      workers: { 'h:mail': { concurrency: 2, queues: ['mail'], active: [], registered: [] } },
    };
  }
  run(id: string, at = Date.now()) {
    const data = { task_name: 'send', queue: 'mail', args: [{ password: 'hunter2hunter' }] };
    const event = { engine: this.name, taskId: id, occurredAt: at, workerOf: 'mail' };
    hub.record({ ...event, kind: 'task.received', data, workerOf: undefined });
    hub.record({ ...event, kind: 'task.started', data: { task_name: 'send', queue: 'mail' } });
  }
  #tell(kind: 'worker.online' | 'worker.offline') {
    const online = kind === 'worker.online';
    this.host?.record({
      kind,
      engine: this.name,
      taskId: '',
      occurredAt: Date.now(),
      data: online ? {} : { worker_name: this.host.workerName('mail'), reason: 'goodbye' },
      ...(online ? { workerOf: 'mail' } : {}),
    });
  }
}

let stub: StubBrain;
let home: string;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'z4j-agent-'));
  stub = await stubBrain();
});

afterEach(async () => {
  await stub.close();
  hub.recorder = undefined;
  hub.engines.clear();
  rmSync(home, { recursive: true, force: true });
});

describe.each([{ thread: false }, { thread: true }])('Agent, in a thread of its own: $thread', ({ thread }) => {
  const options = () => ({
    token: stub.env.Z4J_TOKEN,
    hmacSecret: stub.env.Z4J_HMAC_SECRET,
    brainUrl: stub.env.Z4J_BRAIN_URL,
    agentName: 'h',
    serviceName: 's',
    home,
    thread,
  });

  test('shows the work of two engines and says goodbye', async () => {
    const [one, two] = [new FakeEngine('bullmq'), new FakeEngine('bullmq-analytics')];
    {
      await using agent = new Agent(options()).registerEngine(one).registerEngine(two);
      await agent.start();
      one.run('mail:1');
      two.run('mail:1');
      await stub.waitFor({ eventType: 'task_started', engine: 'bullmq-analytics' });
      expect(agent.state).toBe('running');
      expect(stub.hellos[0]).toMatchObject({
        engines: ['bullmq', 'bullmq-analytics'],
        workerId: 's-h-0',
        host: { name: 'h' },
        capabilities: { bullmq: ['cancel_task'] },
      });
      expect(stub.tasks()).toMatchObject([
        { engine: 'bullmq', state: 'started', args: [{ password: '[REDACTED]' }] },
        { engine: 'bullmq-analytics', state: 'started' },
      ]);
    }
    expect(stub.events.at(-1)).toMatchObject({
      eventType: 'worker_offline',
      data: { reason: 'goodbye', worker_name: 'h:mail' },
    });
    expect(stub.connections).toBe(0);
    expect(hub.recorder).toBeUndefined();
  });

  test('what was captured before the start arrives, with the name of its worker', async () => {
    const engine = new FakeEngine('bullmq');
    const agent = new Agent(options()).registerEngine(engine).listen();
    engine.run('mail:early');
    await agent.start();
    expect(await stub.waitFor({ eventType: 'task_started' })).toMatchObject({
      taskId: 'mail:early',
      data: { worker: 'h:mail' },
    });
    await agent.stop();
  });

  test('what a brain that is away did not take is sent by the next process', async () => {
    const port = Number(new URL(stub.url).port);
    const { token, hmacSecret } = options();
    const known = options();
    await stub.close();
    const engine = new FakeEngine('bullmq');
    const away = await new Agent({ ...known, logLevel: 'silent' }).registerEngine(engine).start();
    engine.run('mail:kept');
    await away.stop(50);
    stub = await stubBrain({ port, token, secret: Buffer.from(String(hmacSecret), 'base64url') });
    const next = await new Agent(known).registerEngine(new FakeEngine('bullmq')).start();
    expect(await stub.waitFor({ eventType: 'task_started' })).toMatchObject({ taskId: 'mail:kept' });
    await next.stop();
  });

  test('a command reaches the engine and its result the brain', async () => {
    const engine = new FakeEngine('bullmq');
    const agent = await new Agent(options()).registerEngine(engine).start();
    const target = { type: 'task', id: 'bullmq:mail:1' };
    await stub.until(() => stub.connections === 1);
    const outcome = await stub.command({
      action: 'cancel_task',
      target,
      parameters: { engine: 'bullmq', task_id: 'mail:1' },
    });
    expect(outcome).toMatchObject({ status: 'success', result: { done: 'cancel_task' }, acknowledged: true });
    expect(engine.commands[0]?.parameters.task_id).toBe('mail:1');
    const unknown = await stub.command({ action: 'dance', target, parameters: {} });
    expect(unknown).toMatchObject({ status: 'failed', acknowledged: true });
    await agent.stop();
  });

  test('the heartbeat carries depths and workers', async () => {
    const agent = await new Agent(options()).registerEngine(new FakeEngine('bullmq')).start();
    await stub.until(() => stub.heartbeats.length > 0);
    const health = stub.heartbeats[0]?.adapter_health as { [key: string]: string };
    expect(JSON.parse(health['bullmq.queue_depths'] ?? '')).toEqual({ mail: 3 });
    expect(JSON.parse(health['bullmq.worker_details'] ?? '')['h:mail']).toMatchObject({
      stats: { pid: process.pid, pool: { 'max-concurrency': 2 }, node: process.version },
      conf: { worker_concurrency: 2 },
    });
    await agent.stop();
  });

  test('two agents of one host do not share a slot', async () => {
    const agent = await new Agent(options()).registerEngine(new FakeEngine('bullmq')).start();
    hub.recorder = undefined;
    const second = await new Agent(options()).registerEngine(new FakeEngine('agenda')).start();
    await stub.until(() => stub.hellos.length === 2);
    expect(stub.hellos.map((hello) => hello.workerId).sort()).toEqual(['s-h-0', 's-h-1']);
    await Promise.all([agent.stop(), second.stop()]);
  });

  test('says which setting is missing and what to do', async () => {
    const start = (more: object) => new Agent({ ...options(), ...more, logLevel: 'silent' }).start();
    await expect(start({ token: '' })).rejects.toThrow('mint an agent');
    await expect(start({ brainUrl: '' })).rejects.toThrow('Z4J_BRAIN_URL');
    await expect(start({ brainUrl: 'http://brain.example' })).rejects.toThrow('https://brain.example');
    await expect(start({ hmacSecret: 'short' })).rejects.toThrow('Z4J_HMAC_SECRET');
    await expect(start({ hmacSecret: 'short' })).rejects.toBeInstanceOf(AgentError);
    vi.stubEnv('Z4J_TOKEN_FILE', join(home, 'absent'));
    const { token: _, ...rest } = options();
    const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    await expect(new Agent(rest).start()).rejects.toThrow('Z4J_TOKEN_FILE): ENOENT');
    // One line about one cause: the error is the one.
    expect(written).not.toHaveBeenCalled();
    written.mockRestore();
    vi.unstubAllEnvs();
  });

  test('a disabled agent does nothing, whatever else is set', async () => {
    const engine = new FakeEngine('bullmq');
    const agent = await new Agent({ ...options(), disabled: true, token: '' }).registerEngine(engine).start();
    expect(agent.state).toBe('new');
    expect([hub.recorder, engine.host, hub.engines.size, readdirSync(home)]).toEqual([undefined, undefined, 0, []]);
    await agent.stop();
    expect(stub.hellos).toHaveLength(0);
  });

  test('runForever ends with a stop by somebody else', async () => {
    const signals = () => process.listenerCount('SIGTERM') + process.listenerCount('SIGINT');
    const before = signals();
    const agent = new Agent(options());
    const forever = agent.runForever();
    await stub.until(() => stub.connections === 1 && signals() > before);
    await agent.stop();
    await forever;
    expect([agent.state, signals()]).toEqual(['stopped', before]);
    await agent.runForever();
  });

  test('refuses a second agent and a second engine of one name', () => {
    const agent = new Agent(options()).listen();
    expect(() => new Agent(options()).listen()).toThrow('not both');
    agent.registerEngine(new FakeEngine('bullmq'));
    expect(() => agent.registerEngine(new FakeEngine('bullmq'))).toThrow('namespace');
  });
});
