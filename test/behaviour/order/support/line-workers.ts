import type { Random } from "../../../support/random.ts";
import { type Frame, RawClient, sized } from "../../../support/raw-client.ts";
import type { HeldMessage, Line, LineLedger } from "./line-ledger.ts";

export const MSG_TIMEOUT_MS = 1000;
const TOPIC = "orders";
const CHANNEL = "billing";
/** What a consumer answered this long before it left, the broker has read. */
const READ_MS = 1000;
/** A message that came so often is simply finished. */
const PATIENT_ATTEMPTS = 5;

/** What all clients of one life share. */
export interface Life {
  readonly ledger: LineLedger;
  readonly random: Random;
  readonly tcpPort: number;
  /** Consumers finish everything at once. */
  isDraining: boolean;
  /** The broker was stopped or killed: connections end. */
  isEnding: boolean;
}

export const now = (): number => performance.now();

/** How a message of a line is published: with which partition in its line, and which key in its header. */
export type Address = (line: Line) => { partition?: number; key: string };

/** Publishes the messages of some lines over one connection, so that they are in the log in the order of their numbers. */
export class LinePublisher {
  private readonly unanswered: { line: Line; number: number }[][] = [];

  private constructor(
    private readonly life: Life,
    private readonly client: RawClient,
    private readonly lines: Line[],
    private readonly address: Address,
  ) {}

  static async start(life: Life, lines: Line[], address: Address, mayPublish: () => boolean): Promise<LinePublisher> {
    const publisher = new LinePublisher(life, await RawClient.connect(life.tcpPort), lines, address);
    publisher.client.onFrame = (frame) => publisher.onAnswer(frame);
    void publisher.run(mayPublish);
    return publisher;
  }

  get isClosed(): boolean {
    return this.client.closed;
  }

  close(): void {
    this.client.close();
  }

  private async run(mayPublish: () => boolean): Promise<void> {
    const { random } = this.life;
    while (!this.isClosed) {
      if (mayPublish() && this.unanswered.length < 64) for (let left = random.int(1, 12); left > 0; left--) this.publish();
      await Bun.sleep(random.int(1, 6));
    }
  }

  private publish(): void {
    const { random } = this.life;
    const line = random.pick(this.lines);
    const { partition } = this.address(line);
    const target = partition === undefined ? TOPIC : `${TOPIC} ${partition}`;
    if (random.chance(0.7)) {
      this.unanswered.push([{ line, number: line.messages.length }]);
      this.client.command(`PUB_EXT ${target}`, this.item(line));
      return;
    }
    const batch: { line: Line; number: number }[] = [];
    const items: Buffer[] = [];
    for (let left = random.int(1, 8); left > 0; left--) {
      // A batch to a partition that is named is of one line.
      const of = partition === undefined ? random.pick(this.lines) : line;
      batch.push({ line: of, number: of.messages.length });
      items.push(sized(this.item(of)));
    }
    const count = Buffer.alloc(4);
    count.writeUInt32BE(items.length);
    this.unanswered.push(batch);
    this.client.command(`MPUB_EXT ${target}`, Buffer.concat([count, ...items]));
  }

  /** The next message of a line: its header with the length in front, and its body. */
  private item(line: Line): Buffer {
    const header = Buffer.from(JSON.stringify({ "##key": this.address(line).key, n: "x".repeat(this.life.random.int(0, 60)) }));
    const length = Buffer.alloc(2);
    length.writeUInt16BE(header.length);
    return Buffer.concat([length, header, Buffer.from(`${this.life.ledger.lines.indexOf(line)} ${line.publish()}`)]);
  }

  private onAnswer(frame: Frame): void {
    const batch = this.unanswered.shift();
    if (frame.type === "response" && frame.text === "OK") for (const { line, number } of batch ?? []) line.acknowledge(number);
    else if (!this.life.isEnding) this.life.ledger.violation(`a publish was answered with ${frame.type} ${frame.text}`);
  }
}

/** A FIN or REQ that was sent. */
interface Answer {
  held: HeldMessage;
  atMs: number;
}

function isLate({ held, atMs }: Answer): boolean {
  return atMs >= held.untilMs;
}

/** Consumes the channel: finishes, now or later or too late, requeues, touches, keeps what it got. */
export class LineConsumer {
  private readonly answers: Answer[] = [];
  /** By message id, to tell what an error is about. */
  private readonly answered = new Map<string, Answer[]>();
  private readonly held = new Map<string, HeldMessage>();
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  /** Whether FIN, REQ and TOUCH say which delivery they are about. */
  private hasTokens = false;

  private constructor(
    private readonly life: Life,
    private readonly client: RawClient,
    private readonly isExtended: boolean,
  ) {}

  static async start(life: Life): Promise<LineConsumer> {
    const { random } = life;
    const consumer = new LineConsumer(life, await RawClient.connect(life.tcpPort), random.chance(0.5));
    const identity = {
      feature_negotiation: true,
      msg_timeout: MSG_TIMEOUT_MS,
      delivery_tokens: random.chance(0.6),
      ...(consumer.isExtended ? { extend_support: true } : {}),
    };
    const answer = JSON.parse(await consumer.client.call("IDENTIFY", JSON.stringify(identity)));
    consumer.hasTokens = answer.delivery_tokens === true;
    await consumer.client.call(`SUB ${TOPIC} ${CHANNEL}`);
    consumer.client.onFrame = (frame) => consumer.onFrame(frame);
    consumer.client.command(`RDY ${random.int(1, 60)}`);
    return consumer;
  }

  get isClosed(): boolean {
    return this.client.closed;
  }

  /** Leaves, with or without saying goodbye to the socket. */
  leave(): void {
    if (this.life.random.chance(0.5)) this.client.close();
    else this.client.terminate();
    this.onClosed();
  }

  /** Its connection has ended. */
  onClosed(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    const unread = this.answers.filter(({ atMs }) => atMs > now() - READ_MS);
    for (const { held } of unread) {
      held.line.leave(this, [held]);
      held.line.forgetDelay();
    }
    for (const held of this.held.values()) held.line.leave(this, []);
  }

  private onFrame(frame: Frame): void {
    if (frame.type === "error") return this.onError(frame.text);
    if (frame.type !== "message") return;
    const [index, number] = this.bodyOf(frame).split(" ").map(Number);
    const { ledger } = this.life;
    const line = ledger.lines[index];
    const held = line?.deliver(number, frame.attempts, this, now(), MSG_TIMEOUT_MS);
    if (held === undefined) return;
    this.held.set(frame.id, held);
    // Without a token the broker may have taken an answer that was late for one to this delivery.
    if (!this.hasTokens && this.answered.get(this.idInErrors(frame.id))?.some(isLate)) {
      held.untilMs = 0;
      line.finish(held, now());
    }
    this.answerSometime(frame.id, held);
  }

  private bodyOf({ data }: Frame): string {
    if (!this.isExtended) return data.toString("latin1");
    return data.toString("latin1", data[0] === 4 ? 3 + data.readUInt16BE(1) : 1);
  }

  private answerSometime(id: string, held: HeldMessage): void {
    const { random, isDraining } = this.life;
    const what = isDraining || held.attempts >= PATIENT_ATTEMPTS ? 0 : random.next();
    if (what < 0.8) this.finish(id, held);
    else if (what < 0.86) this.later(random.int(1, 200), () => this.finish(id, held));
    else if (what < 0.91) this.requeue(id, held, 0);
    else if (what < 0.95) this.requeue(id, held, random.int(1, random.chance(0.6) ? 300 : 2500));
    else if (what < 0.97) this.touchAndFinish(id, held);
    else if (what < 0.985) this.later(random.int(MSG_TIMEOUT_MS, MSG_TIMEOUT_MS + 400), () => this.finish(id, held));
    // The others are never answered.
  }

  private later(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      if (!this.isClosed) work();
    }, ms);
    this.timers.add(timer);
  }

  private finish(id: string, held: HeldMessage): void {
    // It has come again to this consumer: its answer without a token would be about that delivery.
    if (!this.hasTokens && this.held.get(id) !== held) return;
    this.note(id, held);
    held.line.finish(held, now());
    this.client.command(this.withToken(`FIN ${id}`, held));
  }

  private requeue(id: string, held: HeldMessage, delayMs: number): void {
    this.note(id, held);
    held.line.requeue(held, delayMs, now());
    this.client.command(this.withToken(`REQ ${id} ${delayMs}`, held));
  }

  private touchAndFinish(id: string, held: HeldMessage): void {
    this.later(MSG_TIMEOUT_MS / 4, () => {
      this.client.command(this.withToken(`TOUCH ${id}`, held));
      this.later(MSG_TIMEOUT_MS / 2, () => this.finish(id, held));
    });
  }

  private note(id: string, held: HeldMessage): void {
    const answer = { held, atMs: now() };
    this.answers.push(answer);
    const key = this.idInErrors(id);
    this.answered.set(key, [...(this.answered.get(key) ?? []), answer]);
  }

  private withToken(command: string, held: HeldMessage): string {
    return this.hasTokens ? `${command} ${held.attempts}` : command;
  }

  private onError(text: string): void {
    const [, verb] = /^E_(FIN|REQ|TOUCH)_FAILED/.exec(text) ?? [];
    if (verb === undefined) return this.life.ledger.violation(`a consumer got ${text}`);
    if (verb === "TOUCH") return;
    const [, id = ""] = (this.isExtended ? /\[([\d ]+)\]/ : /([0-9a-f]{16})/).exec(text) ?? [];
    const answers = this.answered.get(id) ?? [];
    const about = answers.find(isLate) ?? answers.at(-1);
    if (about === undefined) return this.life.ledger.violation(`a consumer got ${text} for nothing`);
    answers.splice(answers.indexOf(about), 1);
    about.held.line.refuse(about.held, about.atMs);
  }

  private idInErrors(id: string): string {
    return this.isExtended ? Buffer.from(id, "latin1").join(" ") : id;
  }
}
