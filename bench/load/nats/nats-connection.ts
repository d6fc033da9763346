import { type Load, LoadConnection } from "../connection.ts";
import { printable } from "../replies.ts";

const CONNECT = 'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"bench","version":"1"}\r\nPING\r\n';
const REQUEST_MS = 5_000;

/** A message of a subscription. */
export interface NatsMessage {
  readonly reply: string;
  readonly payload: Buffer;
}

/** Takes the messages of a connection one by one, copying each. For requests and low rates. */
export class NatsMessages implements Load {
  private arriving: Buffer = Buffer.alloc(0);

  constructor(
    private readonly connection: LoadConnection,
    private readonly onMessage: (message: NatsMessage) => void,
    private readonly onPong = () => {},
  ) {}

  receive(data: Buffer): void {
    const bytes = this.arriving.length === 0 ? data : Buffer.concat([this.arriving, data]);
    let at = 0;
    for (;;) {
      const end = bytes.indexOf("\r\n", at, "latin1");
      if (end < 0) break;
      const next = this.line(bytes, bytes.toString("latin1", at, end), end + 2);
      if (next < 0) break;
      at = next;
    }
    this.arriving = Buffer.from(bytes.subarray(at));
  }

  drain(): void {}

  /** @returns where the next line begins; -1: the line's payload is not all there */
  private line(bytes: Buffer, line: string, from: number): number {
    const words = line.split(" ");
    switch (words[0]) {
      case "MSG":
      case "HMSG": {
        const length = Number(words.at(-1));
        if (bytes.length < from + length + 2) return -1;
        const skipped = words[0] === "HMSG" ? Number(words.at(-2)) : 0;
        const hasReply = words.length === (words[0] === "HMSG" ? 6 : 5);
        this.onMessage({ reply: hasReply ? (words[3] as string) : "", payload: bytes.subarray(from + skipped, from + length) });
        return from + length + 2;
      }
      case "PING":
        send(this.connection, "PONG\r\n");
        return from;
      case "PONG":
        this.onPong();
        return from;
      case "INFO":
      case "+OK":
        return from;
      default:
        throw new Error(`nats-server says ${line}`);
    }
  }
}

/** Sends a few bytes. */
export function send(connection: LoadConnection, text: string | Buffer): void {
  const bytes = Buffer.from(text);
  if (connection.write(bytes, 0, bytes.length) !== bytes.length) throw new Error("nats-server does not read");
}

/** @returns a connection that nats-server has greeted; its load is to be set */
export async function connectNats(port: number): Promise<LoadConnection> {
  const connection = await LoadConnection.connect(port);
  await new Promise<void>((resolve) => {
    connection.load = new NatsMessages(connection, () => {}, resolve);
    send(connection, CONNECT);
  });
  return connection;
}

/** Makes a request of JetStream's API, over a connection of its own. @returns its answer */
export async function askJetStream(port: number, subject: string, request: object = {}): Promise<Record<string, unknown>> {
  const connection = await connectNats(port);
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${subject}`)), REQUEST_MS);
      connection.load = new NatsMessages(connection, ({ payload }) => {
        clearTimeout(timer);
        if (payload.length === 0) reject(new Error(`nobody answers ${subject}`));
        else resolve(JSON.parse(payload.toString()) as Record<string, unknown>);
      });
      const body = JSON.stringify(request);
      send(connection, `SUB _INBOX.ask 1\r\nPUB $JS.API.${subject} _INBOX.ask ${body.length}\r\n${body}\r\n`);
    });
  } finally {
    connection.end();
  }
}

/** Counts JetStream's acknowledgements, which are two lines each: `MSG …` and a line of JSON. Throws if one is an error. */
export class AckCounter {
  private lines = 0;

  count(data: Buffer): number {
    if (data.includes('"error"') || data.includes("-ERR")) throw new Error(`not acknowledged: ${printable(data)}`);
    const before = this.lines >> 1;
    for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, at + 1)) this.lines++;
    return (this.lines >> 1) - before;
  }
}
