import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type AdoptOptions, adoptSlots } from '../../../src/journal/adopt.js';
import { JournalError } from '../../../src/journal/errors.js';
import { openMailbox, osLock } from '../../../src/journal/local-socket.js';
import { agentFolder, claimSlot, listSlots, type Slot, sendToSlot, slotFolder } from '../../../src/journal/slots.js';
import { META, MIB, open, readAll, scratch } from './support.js';

const slots: Slot[] = [];
afterEach(() => {
  for (const slot of slots.splice(0)) slot.release();
});

async function claim(home: string, options?: Parameters<typeof claimSlot>[2]): Promise<Slot> {
  const slot = await claimSlot(home, 'agent', options);
  slots.push(slot);
  return slot;
}

const ownerFile = (home: string, number: number): string => join(slotFolder(home, 'agent', number), 'owner');

/** What a process leaves that died: an owner file, changed, and no socket. */
function leaveOwner(
  home: string,
  number: number,
  change: (owner: Record<string, unknown>) => void,
  text: string,
): void {
  const owner = JSON.parse(text) as Record<string, unknown>;
  change(owner);
  fs.mkdirSync(slotFolder(home, 'agent', number), { recursive: true, mode: 0o700 });
  fs.writeFileSync(ownerFile(home, number), JSON.stringify(owner));
}

describe('claimSlot', () => {
  it('gives the lowest free number, each once, also to simultaneous callers', async () => {
    const home = scratch();
    const taken = await Promise.all(Array.from({ length: 6 }, () => claim(home)));
    expect(taken.map(({ number }) => number).sort()).toEqual([0, 1, 2, 3, 4, 5]);
    taken.find(({ number }) => number === 2)?.release();
    expect((await claim(home)).number).toBe(2);
    expect(listSlots(home, 'agent')).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('takes the slot of a process that died, with its folder', async () => {
    const home = scratch();
    const slot = await claim(home);
    const text = fs.readFileSync(ownerFile(home, 0), 'utf8');
    slot.release();
    expect(fs.existsSync(ownerFile(home, 0))).toBe(false);
    leaveOwner(home, 0, () => undefined, text);
    expect((await claim(home)).number).toBe(0);
  });

  it('believes a socket in the folder where the lock of the system is not shared', async () => {
    const home = scratch();
    const slot = await claim(home);
    const text = fs.readFileSync(ownerFile(home, 0), 'utf8');
    slot.release();
    const foreign = (owner: Record<string, unknown>): void => {
      Object.assign(owner, { net: 'net:[1]', id: 'other' });
    };
    const mailbox = await openMailbox(slot.dir, 'key', () => null);
    leaveOwner(
      home,
      0,
      (owner) => Object.assign(owner, { address: mailbox?.address, net: 'net:[1]', id: 'other' }),
      text,
    );
    expect((await claim(home)).number).toBe(1);
    mailbox?.close();
    leaveOwner(home, 0, foreign, text);
    expect((await claim(home)).number).toBe(0);
  });

  it('believes the lease of another machine', async () => {
    const home = scratch();
    const slot = await claim(home);
    const text = fs.readFileSync(ownerFile(home, 0), 'utf8');
    slot.release();
    const foreign = (owner: Record<string, unknown>): void => {
      Object.assign(owner, { host: 'elsewhere', boot: 'other', net: 'net:[1]', id: 'other' });
    };
    leaveOwner(home, 0, foreign, text);
    expect((await claim(home)).number).toBe(1);
    const long = Date.now() / 1000 - 200;
    fs.utimesSync(ownerFile(home, 0), long, long);
    expect((await claim(home)).number).toBe(0);
  });

  it('gives signs of life and notices that its slot was taken', async () => {
    const home = scratch();
    const slot = await claim(home, { renewMs: 10 });
    const before = fs.statSync(ownerFile(home, 0)).mtimeMs;
    await expect.poll(() => fs.statSync(ownerFile(home, 0)).mtimeMs).toBeGreaterThan(before);
    const lost = new Promise<void>((resolve) => {
      slot.onLost = resolve;
    });
    leaveOwner(home, 0, (owner) => Object.assign(owner, { id: 'other' }), fs.readFileSync(ownerFile(home, 0), 'utf8'));
    await lost;
    expect(fs.existsSync(ownerFile(home, 0))).toBe(true);
  });

  it('keeps its number when the home is removed', async () => {
    const home = scratch();
    const slot = await claim(home, { renewMs: 10 });
    slot.onMessage = (message) => message;
    fs.rmSync(agentFolder(home, 'agent'), { recursive: true });
    await expect.poll(() => fs.existsSync(ownerFile(home, 0))).toBe(true);
    expect(await sendToSlot(home, 'agent', 0, 'still there')).toBe('still there');
    expect((await claim(home)).number).toBe(1);
  });

  it('says why a home cannot be used', async () => {
    const root = scratch();
    fs.writeFileSync(join(root, 'file'), '');
    const failure = claimSlot(join(root, 'file', 'home'), 'agent');
    await expect(failure).rejects.toThrow(JournalError);
    await expect(failure).rejects.toMatchObject({ code: 'unwritable', reason: 'a part of the path is not a folder' });
    fs.symlinkSync(root, join(root, 'agent'));
    await expect(claimSlot(root, 'agent')).rejects.toMatchObject({ code: 'unsafe' });
  });

  it('makes a folder name of every agent name', () => {
    expect(agentFolder('/h', 'worker-1')).toBe(join('/h', 'worker-1'));
    const odd = ['..', '../../etc', 'a/b', '', 'ä', '.hidden', 'x'.repeat(300)].map((name) => agentFolder('/h', name));
    expect(new Set(odd).size).toBe(odd.length);
    for (const folder of odd) expect(folder).toMatch(/^\/h\/[A-Za-z0-9_-]{1,60}$/);
  });

  it('does without a lock of the system, as on macOS', async () => {
    const platform = Object.getOwnPropertyDescriptor(process, 'platform') as PropertyDescriptor;
    Object.defineProperty(process, 'platform', { ...platform, value: 'darwin' });
    try {
      const home = join(scratch(), 'long'.repeat(20));
      const taken = await Promise.all(Array.from({ length: 6 }, () => claim(home)));
      expect(taken.map(({ number }) => number).sort()).toEqual([0, 1, 2, 3, 4, 5]);
      const text = fs.readFileSync(ownerFile(home, 3), 'utf8');
      for (const slot of taken) slot.onMessage = () => slot.number;
      expect(await sendToSlot(home, 'agent', 3, null)).toBe(3);
      taken.find(({ number }) => number === 3)?.release();
      leaveOwner(home, 3, () => undefined, text);
      expect((await claim(home)).number).toBe(3);
    } finally {
      Object.defineProperty(process, 'platform', platform);
    }
  });

  it('gives a lock once', async () => {
    const name = `test ${Math.random()}`;
    const lock = await osLock(name);
    if (process.platform === 'linux' || process.platform === 'win32') expect(await osLock(name)).toBeUndefined();
    lock?.release();
  });
});

describe('messages between slots', () => {
  it('arrive and are answered, also under a path that is too long for a socket', async () => {
    const home = join(scratch(), 'long'.repeat(40));
    const slot = await claim(home);
    await expect(sendToSlot(home, 'agent', 0, {})).rejects.toMatchObject({ code: 'message' });
    slot.onMessage = async (message) => ({ got: message });
    expect(await sendToSlot(home, 'agent', 0, { a: 'ü'.repeat(1000) })).toEqual({ got: { a: 'ü'.repeat(1000) } });
    slot.onMessage = () => Promise.reject(new Error('busy'));
    await expect(sendToSlot(home, 'agent', 0, null)).rejects.toThrow('busy');
    slot.onMessage = () => new Promise(() => undefined);
    await expect(sendToSlot(home, 'agent', 0, null, { timeoutMs: 30 })).rejects.toThrow('no answer within 30 ms');
    await expect(sendToSlot(home, 'agent', 0, 'x'.repeat(MIB))).rejects.toThrow('longer');
    await expect(sendToSlot(home, 'agent', 7, null)).rejects.toThrow('nobody holds this slot');
    slot.release();
    await expect(sendToSlot(home, 'agent', 0, null)).rejects.toMatchObject({ code: 'message' });
  });

  it('need the key of the owner file', async () => {
    const home = scratch();
    const slot = await claim(home);
    slot.onMessage = () => 'secret';
    const text = fs.readFileSync(ownerFile(home, 0), 'utf8');
    fs.writeFileSync(ownerFile(home, 0), text.replace(slot.owner.key, '0'.repeat(32)));
    await expect(sendToSlot(home, 'agent', 0, null)).rejects.toThrow('wrong key');
    fs.writeFileSync(ownerFile(home, 0), text);
  });
});

describe('adoptSlots', () => {
  const options: AdoptOptions = { maxBytes: MIB, graceMs: 0 };

  it('takes over what dead owners left, once, oldest first, and frees their numbers', async () => {
    const home = scratch();
    const own = await claim(home);
    for (const number of [2, 1]) {
      const journal = open(slotFolder(home, 'agent', number));
      journal.append(`of ${number}`, META);
      journal.close();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const living = await claim(home);
    expect(living.number).toBe(1);
    const adopted = await adoptSlots(home, 'agent', own, options);
    expect(adopted.map(({ journal }) => readAll(journal))).toEqual([['of 2']]);
    expect(await adoptSlots(home, 'agent', own, options)).toEqual([]);
    expect(listSlots(home, 'agent')).toEqual([0, 1]);

    living.release();
    const more = await adoptSlots(home, 'agent', own, options);
    expect(more.map(({ journal }) => readAll(journal))).toEqual([['of 1']]);
    for (const { journal, dir, finish } of [...adopted, ...more]) {
      journal.confirm(journal.end);
      finish();
      expect(fs.existsSync(dir)).toBe(false);
    }
  });

  it('leaves a slot alone whose owner may come back', async () => {
    const home = scratch();
    const own = await claim(home);
    const journal = open(slotFolder(home, 'agent', 1));
    journal.append('x', META);
    journal.close();
    expect(await adoptSlots(home, 'agent', own, { maxBytes: MIB })).toEqual([]);
  });

  it('finds again what a dead adopter had not drained', async () => {
    const home = scratch();
    const first = await claim(home);
    const journal = open(slotFolder(home, 'agent', 1));
    journal.append('x', META);
    journal.close();
    const [adopted] = await adoptSlots(home, 'agent', first, options);
    adopted?.finish();
    expect(fs.existsSync(adopted?.dir ?? '')).toBe(true);
    first.release();
    fs.renameSync(slotFolder(home, 'agent', 0), slotFolder(home, 'agent', 5));
    const second = await claim(home);
    const again = await adoptSlots(home, 'agent', second, options);
    expect(again.map(({ journal }) => readAll(journal))).toEqual([[], ['x']]);
    for (const { journal, finish } of again) {
      journal.confirm(journal.end);
      finish();
    }
    expect(fs.readdirSync(second.dir).filter((name) => name.startsWith('adopted'))).toEqual([]);
  });
});
