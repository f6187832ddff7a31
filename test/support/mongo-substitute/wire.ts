/** Framing of the MongoDB wire protocol: OP_MSG, and OP_QUERY for the handshake of older drivers. */
export type Document = { [key: string]: unknown };

export interface Bson {
  serialize(document: object): Uint8Array;
  deserialize(bytes: Uint8Array): Document;
  readonly ObjectId: new () => object;
}

const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_MSG = 2013;

export interface Request {
  readonly body: Document;
  /** Undefined: the client wants no answer. */
  readonly reply: ((answer: Document) => Buffer) | undefined;
}

function message(opCode: number, responseTo: number, parts: readonly Uint8Array[]): Buffer {
  const header = Buffer.alloc(16);
  header.writeInt32LE(16 + parts.reduce((sum, part) => sum + part.length, 0), 0);
  header.writeInt32LE(responseTo, 8);
  header.writeInt32LE(opCode, 12);
  return Buffer.concat([header, ...parts]);
}

const documentAt = (bytes: Buffer, at: number): Buffer => bytes.subarray(at, at + bytes.readInt32LE(at));

function readMessage(bytes: Buffer, bson: Bson): Request {
  const flags = bytes.readUInt32LE(16);
  const end = bytes.length - (flags & 1 ? 4 : 0);
  let body: Document = {};
  const sequences: Document = {};
  let at = 20;
  while (at < end) {
    const kind = bytes[at];
    at += 1;
    const size = bytes.readInt32LE(at);
    if (kind === 0) {
      body = bson.deserialize(documentAt(bytes, at));
    } else {
      const nameEnd = bytes.indexOf(0, at + 4);
      const documents: Document[] = [];
      for (let next = nameEnd + 1; next < at + size; next += bytes.readInt32LE(next)) {
        documents.push(bson.deserialize(documentAt(bytes, next)));
      }
      sequences[bytes.toString('utf8', at + 4, nameEnd)] = documents;
    }
    at += size;
  }
  const id = bytes.readInt32LE(4);
  const reply = (answer: Document): Buffer => message(OP_MSG, id, [Buffer.alloc(5), bson.serialize(answer)]);
  return { body: { ...body, ...sequences }, reply: flags & 2 ? undefined : reply };
}

function readQuery(bytes: Buffer, bson: Bson): Request {
  const at = bytes.indexOf(0, 20) + 1 + 8;
  const id = bytes.readInt32LE(4);
  return {
    body: bson.deserialize(documentAt(bytes, at)),
    reply(answer) {
      const head = Buffer.alloc(20);
      head.writeInt32LE(8, 0);
      head.writeInt32LE(1, 16);
      return message(OP_REPLY, id, [head, bson.serialize(answer)]);
    },
  };
}

/** Takes chunks as they come and gives the requests that are complete. */
export function requestReader(bson: Bson): (chunk: Buffer) => Request[] {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const requests: Request[] = [];
    while (rest.length >= 16 && rest.length >= rest.readInt32LE(0)) {
      const bytes = rest.subarray(0, rest.readInt32LE(0));
      rest = rest.subarray(bytes.length);
      const opCode = bytes.readInt32LE(12);
      if (opCode !== OP_MSG && opCode !== OP_QUERY) throw new Error(`unknown operation ${opCode}`);
      requests.push(opCode === OP_MSG ? readMessage(bytes, bson) : readQuery(bytes, bson));
    }
    return requests;
  };
}
