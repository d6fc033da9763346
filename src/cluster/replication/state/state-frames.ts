import { type FieldReader, type FieldWriter, WireError } from "../fields.ts";
import type { StateChange, StateKey } from "./replica-state.ts";

// What brokers say to each other about the state of a partition: its keys and values (replica-state.ts).
//
//   STATE-KEYS  partition, epoch, ask u32, after, last u8, keys [key, epoch u32, number u64]
//               "These keys I have behind `after`", by a follower. `last`: there are no more.
//   STATE-MORE  partition, epoch, ask, after. "Tell the keys behind this one", by the leader.
//   STATE       partition, epoch, ask, number u64, changes [key, epoch u32, number u64, length u32, value]
//               What the follower lacks. The length of a value is one more than its bytes; 0: the key is removed. With a number, the
//               follower has everything then up to this change of the epoch; it is one more than that, and 0 while there is more to come.

/** The most keys in one STATE-KEYS. With keys of 255 bytes this is a mebibyte. */
export const KEYS_PER_FRAME = 4_000;
/** A STATE has no more bytes of values than this, but for a single value that has. */
export const STATE_BYTES = 1024 * 1024;

const LONGEST_KEY = 255;
const KEY_BYTES = 1 + 1 + 4 + 8;
const CHANGE_BYTES = KEY_BYTES + 4;
const KEY = /^[\x21-\x7e]+$/;

export interface StateKeys {
  readonly kind: "state-keys";
  readonly partition: number;
  readonly epoch: number;
  readonly ask: number;
  readonly after: string;
  readonly isLast: boolean;
  /** Ascending. */
  readonly keys: readonly StateKey[];
}

export interface StateMore {
  readonly kind: "state-more";
  readonly partition: number;
  readonly epoch: number;
  readonly ask: number;
  readonly after: string;
}

export interface StateFrame {
  readonly kind: "state";
  readonly partition: number;
  readonly epoch: number;
  readonly ask: number;
  /** With these changes the follower has everything up to this one; undefined: there is more to come. */
  readonly number: number | undefined;
  readonly changes: readonly StateChange[];
}

export type AnyStateFrame = StateKeys | StateMore | StateFrame;

/** No less than its fields take. */
export function stateBytes(frame: AnyStateFrame): number {
  const fixed = 64 + LONGEST_KEY;
  if (frame.kind === "state-keys") return fixed + frame.keys.reduce((bytes, { key }) => bytes + KEY_BYTES + key.length, 0);
  if (frame.kind === "state-more") return fixed;
  return fixed + frame.changes.reduce((bytes, { key, value }) => bytes + CHANGE_BYTES + key.length + (value?.length ?? 0), 0);
}

/** Writes what follows the partition and the epoch. */
export function writeState(writer: FieldWriter, frame: AnyStateFrame): void {
  writer.u32(frame.ask);
  if (frame.kind !== "state") writer.text(frame.after);
  if (frame.kind === "state-more") return;
  if (frame.kind === "state-keys") {
    writer.u8(frame.isLast ? 1 : 0);
    return writer.list(frame.keys, (key) => writeKey(writer, key));
  }
  writer.sequence(frame.number === undefined ? 0 : frame.number + 1);
  writer.list(frame.changes, (change) => {
    writeKey(writer, change);
    writer.u32(change.value === undefined ? 0 : change.value.length + 1);
    if (change.value !== undefined) writer.bytes(change.value);
  });
}

function writeKey(writer: FieldWriter, { key, epoch, number }: StateKey): void {
  writer.text(key);
  writer.u32(epoch);
  writer.sequence(number);
}

export function readStateKeys(reader: FieldReader): StateKeys {
  const [partition, epoch, ask, after, isLast] = [reader.u32(), reader.u32(), reader.u32(), reader.text(), reader.flag()];
  const keys = reader.list(KEY_BYTES, () => readKey(reader));
  if (keys.length > KEYS_PER_FRAME) throw new WireError(`${keys.length} keys`);
  let last = after;
  for (const { key } of keys) {
    if (key <= last) throw new WireError("keys are not in order");
    last = key;
  }
  if (keys.length === 0 && !isLast) throw new WireError("no keys, and more to come");
  return { kind: "state-keys", partition, epoch, ask, after, isLast, keys };
}

export function readStateMore(reader: FieldReader): StateMore {
  return { kind: "state-more", partition: reader.u32(), epoch: reader.u32(), ask: reader.u32(), after: reader.text() };
}

/** The values are copies: the frame's memory is not kept. */
export function readState(reader: FieldReader): StateFrame {
  const [partition, epoch, ask, number] = [reader.u32(), reader.u32(), reader.u32(), reader.sequence()];
  const changes = reader.list(CHANGE_BYTES, (): StateChange => {
    const key = readKey(reader);
    const length = reader.u32();
    return { ...key, value: length === 0 ? undefined : Buffer.from(reader.bytes(length - 1)) };
  });
  return { kind: "state", partition, epoch, ask, number: number === 0 ? undefined : number - 1, changes };
}

function readKey(reader: FieldReader): StateKey {
  const key = reader.text();
  if (!KEY.test(key)) throw new WireError("a key is not one");
  return { key, epoch: reader.u32(), number: reader.sequence() };
}
