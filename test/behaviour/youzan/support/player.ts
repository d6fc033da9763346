import { expect } from "bun:test";
import type { InProcess } from "../../../support/in-process.ts";
import type { RawClient } from "../../../support/raw-client.ts";
import type { SteppedClock } from "../../../support/stepped-clock.ts";
import { type FrameParts, frameText, shiftId } from "./frame-text.ts";
import type { Section, Step } from "./transcript.ts";

const MAGIC = "  V2";
/** What the recorded clients said of themselves. */
const IDENTITY = { client_id: "cap", hostname: "cap", user_agent: "cap/1", feature_negotiation: true, heartbeat_interval: 30_000 };
/** Answers of IDENTIFY in which brokers differ. */
const OWN_KEYS = ["version", "deflate_level", "output_buffer_size", "output_buffer_timeout"];

/** What is different about a section when it is played, and why. */
export interface Difference {
  /** Beginning of the section's title. */
  section: string;
  why: string;
  /** The answer to the command with this number in the section, the magic not counted, in place of the recorded ones. */
  at: number;
  /** As frameText() shows it; `closed`. */
  answers: string[];
}

/** How a file of sections is played. */
export interface Play {
  /** How much larger the recorded ids are. */
  shift: bigint;
  differences: Difference[];
  /** Each section is played by a client of its own. */
  apart?: boolean;
  /** What the client of a section says of itself beside what all say, by the beginning of the title. */
  identities?: Record<string, Record<string, unknown>>;
  /** Sections, by the beginning of the title, in which a consumer leaves when the next one subscribes. */
  leaving?: string[];
  /** After how long the answers of a section come, ms, by the beginning of its title; others come at once. */
  delays?: Record<string, number>;
  clock?: SteppedClock;
}

/** Plays what a recorded client sent on a broker, and compares what that client got. */
export class Player {
  private client: RawClient | undefined;
  private previous: RawClient | undefined;
  private parts: FrameParts = { isExtended: false, isDetailed: false };
  private hasSubscribed = false;
  /** Differences that were met. */
  readonly met = new Set<Difference>();

  constructor(
    private readonly started: InProcess,
    private readonly play: Play,
  ) {}

  async section(section: Section): Promise<void> {
    if (this.play.apart === true) this.client = undefined;
    const identity = Object.entries(this.play.identities ?? {}).find(([title]) => section.title.startsWith(title))?.[1] ?? {};
    let command = 0;
    for (let i = 0; i < section.steps.length; ) {
      const step = section.steps[i] as Step;
      i++;
      if (step.kind !== "send") {
        await this.compare(section, -1, "", section.steps.slice(i - 1, i), true);
        continue;
      }
      const text = step.bytes.toString("latin1");
      if (text === MAGIC) {
        this.client = undefined;
        continue;
      }
      const answers: Step[] = [];
      for (; section.steps[i] !== undefined && section.steps[i]?.kind !== "send"; i++) answers.push(section.steps[i] as Step);
      await this.command(section, command, step.bytes, answers, identity);
      command++;
    }
  }

  private async command(section: Section, number: number, bytes: Buffer, answers: Step[], identity: object): Promise<void> {
    const text = bytes.toString("latin1");
    const subscribes = text.startsWith("SUB");
    if (subscribes && this.hasSubscribed && !section.title.startsWith("SUB twice")) this.nextClient(section.title);
    if (this.client === undefined || this.client.closed) await this.connect(identity);
    const client = this.client as RawClient;
    if (text.startsWith("IDENTIFY")) return this.compareIdentity(answers[0] as Step, text.slice(text.indexOf("{")), identity);
    client.write(this.shifted(bytes));
    if (subscribes) {
      this.hasSubscribed = true;
      this.parts = { ...this.parts, isDetailed: !text.startsWith("SUB ") };
    }
    await this.compare(section, number, text, answers, subscribes || this.hasSubscribed);
  }

  /** The next consumer comes, and the last one leaves, or waits beside it. */
  private nextClient(title: string): void {
    if (this.play.leaving?.some((beginning) => title.startsWith(beginning)) === true) this.client?.close();
    else this.previous = this.client;
    this.client = undefined;
  }

  /** The consumer beside the last one leaves. */
  leave(): void {
    this.previous?.close();
  }

  /** @param number of the command in its section; -1: answers that come without one */
  private async compare(section: Section, number: number, text: string, answers: Step[], isConsumer: boolean): Promise<void> {
    const difference = this.play.differences.find(({ section: title, at }) => section.title.startsWith(title) && at === number);
    if (difference !== undefined) this.met.add(difference);
    const expected = difference?.answers ?? answers.map((answer) => this.textOf(answer));
    const delayMs = Object.entries(this.play.delays ?? {}).find(([title]) => section.title.startsWith(title))?.[1];
    if (delayMs !== undefined) {
      // What was sent is there before time passes.
      expect(await this.nothing()).toBe("nothing");
      await this.play.clock?.pass(delayMs - 1);
      expect(await this.nothing()).toBe("nothing");
      await this.play.clock?.pass(1);
    }
    const got: string[] = [];
    for (const answer of expected) got.push(await this.next(answer, isConsumer));
    const what = `${section.title}: ${JSON.stringify(text.slice(0, 60))}`;
    expect([what, ...got.map(withoutLibraryText)]).toEqual([what, ...expected.map(withoutLibraryText)]);
  }

  private async connect(identity: object): Promise<void> {
    this.client = await this.started.client();
    this.hasSubscribed = false;
    this.parts = { isExtended: "extend_support" in identity, isDetailed: false };
    await this.client.call("IDENTIFY", JSON.stringify({ ...IDENTITY, multiplexing: true, ...identity }));
  }

  /** The client has said who it is when it was connected. */
  private async compareIdentity(recorded: Step, text: string, identity: object): Promise<void> {
    const client = await this.started.client();
    const answer = JSON.parse(await client.call("IDENTIFY", JSON.stringify({ ...JSON.parse(text), multiplexing: true, ...identity })));
    const theirs = JSON.parse(this.textOf(recorded).replace("response ", ""));
    for (const key of OWN_KEYS) theirs[key] = answer[key];
    expect(JSON.stringify(answer)).toBe(JSON.stringify(theirs));
  }

  private async next(expected: string, isConsumer: boolean): Promise<string> {
    const client = this.client as RawClient;
    if (expected === "closed") {
      await client.untilClosed();
      return client.frames.length === 0 ? "closed" : `a frame: ${client.frames[0]?.text}`;
    }
    if (expected === "nothing") return isConsumer ? this.nothing() : "nothing";
    const frame = await client.next();
    return frameText(frame.bytes, this.parts, 0n);
  }

  /** A command that fails goes there and back, and nothing else comes. */
  private async nothing(): Promise<string> {
    const client = this.client as RawClient;
    client.write(Buffer.concat([Buffer.from("FIN "), Buffer.alloc(16, 1), Buffer.from("\n")]));
    const { text } = await client.next();
    return text.startsWith("E_FIN_FAILED FIN [1 1 ") ? "nothing" : text;
  }

  private textOf(step: Step): string {
    return step.kind === "receive" ? frameText(step.frame, this.parts, this.play.shift) : step.kind;
  }

  private shifted(bytes: Buffer): Buffer {
    const [, verb = ""] = /^(FIN |REQ |TOUCH )/.exec(bytes.toString("latin1")) ?? [];
    if (verb === "") return bytes;
    const at = verb.length;
    return Buffer.concat([bytes.subarray(0, at), shiftId(bytes.subarray(at, at + 16), this.play.shift), bytes.subarray(at + 16)]);
  }
}

/** What comes behind this is the text of a JSON library. */
function withoutLibraryText(text: string): string {
  return text.replace(/(fail to parse json header:).*/s, "$1");
}

/** What follows the size word of a PUB_EXT. */
export function withHeader(header: string, body: string): Buffer {
  const bytes = Buffer.alloc(2 + header.length + body.length);
  bytes.writeUInt16BE(header.length, 0);
  bytes.write(header + body, 2, "latin1");
  return bytes;
}

/** What follows the size word of a PUB_TRACE. */
export function traced(traceId: bigint, body: string): Buffer {
  const bytes = Buffer.alloc(8 + body.length);
  bytes.writeBigUInt64BE(traceId, 0);
  bytes.write(body, 8, "latin1");
  return bytes;
}
