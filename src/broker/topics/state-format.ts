// The values that go along with the messages of a partition (state-values.ts). All numbers are big-endian.
//
//     channel  := version u8 | paused u8 | floor f64 | void before f64 | requeues void before f64 | progress (channel/progress.ts)
//     deferred := version u8 | kind u8 | attempts u16 | due ms f64 | sequence f64 | length u8 | channel | frame
//     joining  := sequence f64
//
// Due times are the wall clock's. `void before` are places of entries: those before it are void. Another broker has other numbers for them.

const VERSION = 1;
const CHANNEL_BYTES = 2 + 3 * 8;
const DEFERRED_BYTES = 4 + 2 * 8 + 1;
const JOINING_BYTES = 8;

/** What a channel has of a partition. */
export interface ChannelState {
  readonly paused: boolean;
  readonly floor: number;
  /** Places of entries. */
  readonly voidBefore: number;
  readonly requeuesVoidBefore: number;
  readonly progress: Uint8Array;
}

/** A message of the deferred store. */
export interface DeferredState {
  readonly kind: number;
  readonly attempts: number;
  /** By the wall clock, ms. */
  readonly dueMs: number;
  readonly sequence: number;
  /** "": it is a publish. */
  readonly channel: string;
  readonly frame: Buffer;
}

/** What a partition has beside its channels. */
export interface TopicState {
  readonly paused: boolean;
  readonly released: number;
  /** The place of the first entry that the next channel gets. */
  readonly heldFrom: number;
}

/** Another release wrote a value, or it is damaged. */
class StateFormatError extends Error {
  override name = "StateFormatError";
}

export function encodeChannel({ paused, floor, voidBefore, requeuesVoidBefore, progress }: ChannelState): Buffer {
  const bytes = Buffer.allocUnsafe(CHANNEL_BYTES + progress.length);
  bytes[0] = VERSION;
  bytes[1] = paused ? 1 : 0;
  bytes.writeDoubleBE(floor, 2);
  bytes.writeDoubleBE(voidBefore, 10);
  bytes.writeDoubleBE(requeuesVoidBefore, 18);
  bytes.set(progress, CHANNEL_BYTES);
  return bytes;
}

/** @throws StateFormatError */
export function decodeChannel(bytes: Buffer): ChannelState {
  check(bytes, CHANNEL_BYTES);
  return {
    paused: bytes[1] === 1,
    floor: bytes.readDoubleBE(2),
    voidBefore: bytes.readDoubleBE(10),
    requeuesVoidBefore: bytes.readDoubleBE(18),
    progress: bytes.subarray(CHANNEL_BYTES),
  };
}

/** @param frame holds the whole message frame in [from, to) */
export function encodeDeferred(entry: Omit<DeferredState, "frame">, frame: Buffer, from: number, to: number): Buffer {
  const { kind, attempts, dueMs, sequence, channel } = entry;
  const frameAt = DEFERRED_BYTES + channel.length;
  const bytes = Buffer.allocUnsafe(frameAt + to - from);
  bytes[0] = VERSION;
  bytes[1] = kind;
  bytes.writeUInt16BE(attempts, 2);
  bytes.writeDoubleBE(dueMs, 4);
  bytes.writeDoubleBE(sequence, 12);
  bytes[20] = channel.length;
  bytes.write(channel, DEFERRED_BYTES, "latin1");
  frame.copy(bytes, frameAt, from, to);
  return bytes;
}

/** @throws StateFormatError */
export function decodeDeferred(bytes: Buffer): DeferredState {
  check(bytes, DEFERRED_BYTES);
  const frameAt = DEFERRED_BYTES + bytes[20];
  if (frameAt > bytes.length) throw new StateFormatError("the value is too short");
  return {
    kind: bytes[1],
    attempts: bytes.readUInt16BE(2),
    dueMs: bytes.readDoubleBE(4),
    sequence: bytes.readDoubleBE(12),
    channel: bytes.toString("latin1", DEFERRED_BYTES, frameAt),
    frame: bytes.subarray(frameAt),
  };
}

export function encodeJoining(sequence: number): Buffer {
  const bytes = Buffer.allocUnsafe(JOINING_BYTES);
  bytes.writeDoubleBE(sequence);
  return bytes;
}

/** @returns undefined for a value that is damaged */
export function decodeJoining(bytes: Buffer | undefined): number | undefined {
  return bytes?.length === JOINING_BYTES ? bytes.readDoubleBE() : undefined;
}

export function encodeTopic(state: TopicState): Buffer {
  return Buffer.from(JSON.stringify(state));
}

/** @returns undefined for a value that is damaged */
export function decodeTopic(bytes: Buffer | undefined): TopicState | undefined {
  if (bytes === undefined) return undefined;
  try {
    const { paused, released, heldFrom } = JSON.parse(bytes.toString()) as Record<string, unknown>;
    const isWhole = typeof paused === "boolean" && typeof released === "number" && typeof heldFrom === "number";
    return isWhole ? { paused, released, heldFrom } : undefined;
  } catch {
    return undefined;
  }
}

function check(bytes: Buffer, least: number): void {
  if (bytes.length < least) throw new StateFormatError("the value is too short");
  if (bytes[0] !== VERSION) throw new StateFormatError(`the value is of version ${bytes[0]}`);
}
