import type { ForwardAnswer, ForwardedPublish } from "../../broker/forwarding/forwarded-publish.ts";
import { FieldReader, FieldWriter, WireError } from "../replication/fields.ts";
import { LENGTH_BYTES } from "../replication/wire.ts";

// What a broker says to one that leads partitions, on a connection of its own to the same address. Frames are like those of
// replication/wire.ts, and their kinds are others, so that the first frame tells what a connection is for.
//
//   KNOCK    version u16, cluster, data path uid, that of the broker that is meant. The first frame of the one that connects.
//   WELCOME  version u16, knows keys u8. The answer.
//   PUBLISH  number u32, partition u32, command u8, records u8, delay f64 (ms), topic, idempotency key, origin, messages
//   ANSWER   number u32, outcome u8; then by the outcome partition u32, prefix u32, sequence u64, position u64; or a reason
//   PING, PONG  "Are you there?" and "Yes."

const FORWARD_VERSION = 1;
/** Bytes of a frame's texts and numbers, at most. */
const FIXED_BYTES = 1_200;
const MAX_TEXT_BYTES = 255;

const KINDS = { knock: 64, welcome: 65, publish: 66, answer: 67, ping: 68, pong: 69 } as const;
const COMMANDS = ["PUB", "MPUB", "DPUB"] as const;
const OUTCOMES = ["repeated", "done", "not-leader", "refused", "unknown"] as const;

interface Knock {
  readonly kind: "knock";
  readonly cluster: string;
  readonly from: string;
  readonly to: string;
}

interface Welcome {
  readonly kind: "welcome";
  /** A repeated publish is recognized by its idempotency key. */
  readonly knowsKeys: boolean;
}

interface Publish {
  readonly kind: "publish";
  readonly number: number;
  readonly publish: ForwardedPublish;
}

interface Answer {
  readonly kind: "answer";
  readonly number: number;
  readonly answer: ForwardAnswer;
}

interface Sign {
  readonly kind: "ping" | "pong";
}

export type ForwardFrame = Knock | Welcome | Publish | Answer | Sign;

/** Whether the first frame of a connection, which comes without its length, says that it is for publishes. */
export function isKnock(frame: Buffer): boolean {
  return frame[0] === KINDS.knock;
}

/** @returns the frame with its length in front. The messages of a PUBLISH follow it, and are not in it */
export function encodeForwardFrame(frame: ForwardFrame): Buffer {
  const writer = new FieldWriter(LENGTH_BYTES + FIXED_BYTES);
  writer.u32(0);
  writer.u8(KINDS[frame.kind]);
  writeFields(writer, frame);
  const bytes = writer.written();
  const more = frame.kind === "publish" ? frame.publish.messages.length : 0;
  bytes.writeUInt32BE(bytes.length - LENGTH_BYTES + more);
  return bytes;
}

function writeFields(writer: FieldWriter, frame: ForwardFrame): void {
  switch (frame.kind) {
    case "knock":
      writer.u16(FORWARD_VERSION);
      for (const text of [frame.cluster, frame.from, frame.to]) writer.text(text);
      return;
    case "welcome":
      writer.u16(FORWARD_VERSION);
      return writer.u8(frame.knowsKeys ? 1 : 0);
    case "publish":
      writer.u32(frame.number);
      return writePublish(writer, frame.publish);
    case "answer":
      writer.u32(frame.number);
      return writeAnswer(writer, frame.answer);
  }
}

function writePublish(writer: FieldWriter, { partition, command, isRecords, deferMs, topic, key, origin }: ForwardedPublish): void {
  writer.u32(partition);
  writer.u8(COMMANDS.indexOf(command));
  writer.u8(isRecords ? 1 : 0);
  writer.f64(deferMs);
  writer.text(topic);
  writer.latin1(key);
  writer.text(cut(origin));
}

function writeAnswer(writer: FieldWriter, answer: ForwardAnswer): void {
  const outcome = answer.kind === "done" && answer.place === undefined ? "repeated" : answer.kind;
  writer.u8(OUTCOMES.indexOf(outcome));
  if (answer.kind === "refused" || answer.kind === "unknown") writer.text(cut(answer.reason));
  if (answer.kind !== "done" || answer.place === undefined) return;
  const { partition, prefix, sequence, position } = answer.place;
  writer.u32(partition);
  writer.u32(prefix);
  writer.sequence(sequence);
  writer.sequence(position);
}

/** A text that is not too long for a frame. */
function cut(text: string): string {
  let short = text;
  while (Buffer.byteLength(short) > MAX_TEXT_BYTES) short = short.slice(0, -16);
  return short;
}

/**
 * @param bytes the frame without its length. The messages of a PUBLISH stay in this memory, and are not checked
 * @throws WireError for what no broker sends
 */
export function decodeForwardFrame(bytes: Buffer): ForwardFrame {
  const reader = new FieldReader(bytes);
  const frame = readFields(reader, reader.u8());
  if (reader.left > 0) throw new WireError(`${frame.kind} has ${reader.left} bytes too many`);
  return frame;
}

function readFields(reader: FieldReader, kind: number): ForwardFrame {
  switch (kind) {
    case KINDS.knock:
      checkVersion(reader.u16());
      return { kind: "knock", cluster: reader.text(), from: reader.text(), to: reader.text() };
    case KINDS.welcome:
      checkVersion(reader.u16());
      return { kind: "welcome", knowsKeys: reader.flag() };
    case KINDS.publish:
      return { kind: "publish", number: reader.u32(), publish: readPublish(reader) };
    case KINDS.answer:
      return { kind: "answer", number: reader.u32(), answer: readAnswer(reader) };
    case KINDS.ping:
      return { kind: "ping" };
    case KINDS.pong:
      return { kind: "pong" };
    default:
      throw new WireError(`unknown kind of frame ${kind}`);
  }
}

function checkVersion(version: number): void {
  if (version !== FORWARD_VERSION) throw new WireError(`it forwards by version ${version}, and not ${FORWARD_VERSION}`);
}

function readPublish(reader: FieldReader): ForwardedPublish {
  const partition = reader.u32();
  const command = COMMANDS[reader.u8()];
  if (command === undefined) throw new WireError("unknown command");
  const isRecords = reader.flag();
  const deferMs = reader.f64();
  if (!(deferMs >= 0 && Number.isFinite(deferMs))) throw new WireError(`a delay of ${deferMs} ms`);
  const topic = reader.text();
  return { partition, command, isRecords, deferMs, topic, key: reader.latin1(), origin: reader.text(), messages: reader.rest() };
}

function readAnswer(reader: FieldReader): ForwardAnswer {
  const kind = OUTCOMES[reader.u8()];
  switch (kind) {
    case undefined:
      throw new WireError("unknown outcome");
    case "repeated":
      return { kind: "done", place: undefined };
    case "done": {
      const place = { partition: reader.u32(), prefix: reader.u32(), sequence: reader.sequence(), position: reader.sequence() };
      return { kind, place };
    }
    case "not-leader":
      return { kind };
    default:
      return { kind, reason: reader.text() };
  }
}
