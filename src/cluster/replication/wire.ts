import type { CommitRun } from "../../broker/storage/log/commit-run.ts";
import type { Epoch } from "../../broker/storage/log/epochs.ts";
import { MAX_CLUSTER_BODY_BYTES } from "../../net/cluster-options.ts";
import {
  type Have,
  type Need,
  type RepairFrame,
  readHave,
  readRange,
  repairBytes,
  type Skip,
  writeRepair,
} from "../repair/repair-frames.ts";
import { FieldReader, FieldWriter, WireError } from "./fields.ts";
import { readRun, runBytes, writeRun } from "./run-fields.ts";
import {
  type AnyStateFrame,
  readState,
  readStateKeys,
  readStateMore,
  type StateFrame,
  type StateKeys,
  type StateMore,
  stateBytes,
  writeState,
} from "./state/state-frames.ts";

// What brokers say to each other, over one connection for all partitions. A frame is, all numbers big-endian:
//
//   length u32    of what follows
//   kind u8
//   fields        by the kind; texts are u8 length and bytes, lists are u32 count and elements, sequences are u64
//
//   HELLO    version u16, cluster, data path uid, run. The first frame, both ways.
//   LEAD     partition u32, epoch u32. "I lead it": to each of its replicas, by who leads.
//   FOLLOW   partition, epoch, ask u32, additions u32, start, end, epochs [epoch u32, first sequence]. "This is what I have": by a follower.
//   PART     partition, epoch, ask, to, restarts u8, end, start, needed. "Keep what is below `to`; commits from there follow. My log begins
//            at `start`, some channel has still to get what is at `needed`, and this is my end."
//   APPEND   partition, epoch, high watermark, commits and records: see run-fields.ts
//   ENDS     [partition, epoch, end, synced end, state]. What followers have, once per turn. Of the state, the number after the last
//            change that it has with all before it; 0: it is not known.
//   BEAT     [partition, epoch, high watermark]. Every 200 ms, with the watermarks that changed.
//   REJECT   partition, epoch. "I know of this epoch, and yours is older."
//   NEED, HAVE, SKIP: what is damaged, see repair/repair-frames.ts
//   STATE-KEYS, STATE-MORE, STATE: what goes along with the messages, see state/state-frames.ts
//
// A partition is named by the prefix of its message ids, which no other partition of the cluster gets. `ask` numbers what a broker has
// asked for since it was started, so that each replica can tell the answer to its newest ask.

export const WIRE_VERSION = 1;
/** A frame is no longer than this: the longest message, and what is around it. */
export const MAX_FRAME_BYTES = MAX_CLUSTER_BODY_BYTES + 28 * 1024 * 1024;
export const LENGTH_BYTES = 4;

export interface Hello {
  readonly kind: "hello";
  readonly version: number;
  readonly cluster: string;
  /** The data path's. */
  readonly uid: string;
  /** The name of this run of the process. */
  readonly run: string;
}

export interface Lead {
  readonly kind: "lead";
  readonly partition: number;
  readonly epoch: number;
}

export interface Follow {
  readonly kind: "follow";
  readonly partition: number;
  readonly epoch: number;
  readonly ask: number;
  /** What the newest record says of these that the follower knows. */
  readonly additions: number;
  /** The first sequence and the end of the follower's log. */
  readonly start: number;
  readonly end: number;
  readonly epochs: readonly Epoch[];
}

export interface Part {
  readonly kind: "part";
  readonly partition: number;
  readonly epoch: number;
  readonly ask: number;
  readonly to: number;
  /** Nothing of the follower's log is of use: it begins anew at `to`. */
  readonly restarts: boolean;
  /** The end of the leader's log. What was acknowledged without this run of the follower is below it. */
  readonly end: number;
  /** The first sequence of the leader's log, and the first one that a channel has still to get. */
  readonly start: number;
  readonly needed: number;
}

export interface Append {
  readonly kind: "append";
  readonly partition: number;
  /** The leader's. That of the commits may be older. */
  readonly epoch: number;
  readonly highWatermark: number;
  readonly run: CommitRun;
}

export interface ReplicaEnd {
  readonly partition: number;
  readonly epoch: number;
  /** The sequence after the last record in its file, and after the last one on its disk. */
  readonly end: number;
  readonly synced: number;
  /** It has all changes of the state up to this one of the epoch; below 0: it has not been told yet what it lacks. */
  readonly state: number;
}

export interface Ends {
  readonly kind: "ends";
  readonly ends: readonly ReplicaEnd[];
}

export interface Mark {
  readonly partition: number;
  readonly epoch: number;
  readonly highWatermark: number;
}

export interface Beat {
  readonly kind: "beat";
  readonly marks: readonly Mark[];
}

export interface Reject {
  readonly kind: "reject";
  readonly partition: number;
  readonly epoch: number;
}

export type Frame = Hello | Lead | Follow | Part | Append | Ends | Beat | Reject | AnyStateFrame | RepairFrame;

/** What is about one partition. */
export type PartitionFrame = Lead | Follow | Part | Append | Reject | StateKeys | StateMore | StateFrame | Need | Have | Skip;

const KINDS = {
  ...{ hello: 1, lead: 2, follow: 3, part: 4, append: 5, ends: 6, beat: 7, reject: 8 },
  ...{ "state-keys": 9, "state-more": 10, state: 11 },
  ...{ need: 12, have: 13, skip: 14 },
} as const;

const EPOCH_BYTES = 4 + 8;
const END_BYTES = 4 + 4 + 8 + 8 + 8;
const MARK_BYTES = 4 + 4 + 8;
/** More than the fields outside of lists and records take. */
const FIXED_BYTES = 64;

/** @returns the frame with its length in front; it shares no memory with what it was made of */
export function encodeFrame(frame: Frame): Buffer {
  const writer = new FieldWriter(LENGTH_BYTES + bytesOf(frame));
  writer.u32(0);
  writer.u8(KINDS[frame.kind]);
  writeFields(writer, frame);
  const bytes = writer.written();
  bytes.writeUInt32BE(bytes.length - LENGTH_BYTES);
  return bytes;
}

/** No less than a frame takes. */
function bytesOf(frame: Frame): number {
  switch (frame.kind) {
    case "hello":
      return FIXED_BYTES + 3 * 256;
    case "follow":
      return FIXED_BYTES + frame.epochs.length * EPOCH_BYTES;
    case "append":
      return FIXED_BYTES + runBytes(frame.run);
    case "ends":
      return FIXED_BYTES + frame.ends.length * END_BYTES;
    case "beat":
      return FIXED_BYTES + frame.marks.length * MARK_BYTES;
    case "state-keys":
    case "state-more":
    case "state":
      return stateBytes(frame);
    case "need":
    case "have":
    case "skip":
      return repairBytes(frame);
    default:
      return FIXED_BYTES;
  }
}

function writeFields(writer: FieldWriter, frame: Frame): void {
  switch (frame.kind) {
    case "hello":
      writer.u16(frame.version);
      for (const text of [frame.cluster, frame.uid, frame.run]) writer.text(text);
      return;
    case "ends":
      writer.list(frame.ends, ({ partition, epoch, end, synced, state }) => {
        writer.u32(partition);
        writer.u32(epoch);
        writer.sequence(end);
        writer.sequence(synced);
        writer.sequence(state + 1);
      });
      return;
    case "beat":
      writer.list(frame.marks, ({ partition, epoch, highWatermark }) => {
        writer.u32(partition);
        writer.u32(epoch);
        writer.sequence(highWatermark);
      });
      return;
  }
  writer.u32(frame.partition);
  writer.u32(frame.epoch);
  switch (frame.kind) {
    case "follow":
      return writeFollow(writer, frame);
    case "part":
      return writePart(writer, frame);
    case "append":
      return writeAppend(writer, frame);
    case "state-keys":
    case "state-more":
    case "state":
      return writeState(writer, frame);
    case "need":
    case "have":
    case "skip":
      return writeRepair(writer, frame);
  }
}

function writePart(writer: FieldWriter, { ask, to, restarts, end, start, needed }: Part): void {
  writer.u32(ask);
  writer.sequence(to);
  writer.u8(restarts ? 1 : 0);
  for (const sequence of [end, start, needed]) writer.sequence(sequence);
}

function writeFollow(writer: FieldWriter, { ask, additions, start, end, epochs }: Follow): void {
  writer.u32(ask);
  writer.u32(additions);
  writer.sequence(start);
  writer.sequence(end);
  writer.list(epochs, ({ epoch, firstSequence }) => {
    writer.u32(epoch);
    writer.sequence(firstSequence);
  });
}

function writeAppend(writer: FieldWriter, { highWatermark, run }: Append): void {
  writer.sequence(highWatermark);
  writeRun(writer, run);
}

/**
 * @param bytes the frame without its length. The records of an APPEND stay in this memory.
 * @throws WireError for what no broker sends
 */
export function decodeFrame(bytes: Buffer): Frame {
  const reader = new FieldReader(bytes);
  const frame = readFields(reader, reader.u8());
  if (reader.left > 0) throw new WireError(`${frame.kind} has ${reader.left} bytes too many`);
  return frame;
}

function readFields(reader: FieldReader, kind: number): Frame {
  switch (kind) {
    case KINDS.hello:
      return { kind: "hello", version: reader.u16(), cluster: reader.text(), uid: reader.text(), run: reader.text() };
    case KINDS.lead:
      return { kind: "lead", partition: reader.u32(), epoch: reader.u32() };
    case KINDS.follow:
      return readFollow(reader);
    case KINDS.part:
      return {
        kind: "part",
        partition: reader.u32(),
        epoch: reader.u32(),
        ask: reader.u32(),
        to: reader.sequence(),
        restarts: reader.flag(),
        end: reader.sequence(),
        start: reader.sequence(),
        needed: reader.sequence(),
      };
    case KINDS.append:
      return readAppend(reader);
    case KINDS.ends:
      return { kind: "ends", ends: reader.list(END_BYTES, readEnd) };
    case KINDS.beat:
      return { kind: "beat", marks: reader.list(MARK_BYTES, readMark) };
    case KINDS.reject:
      return { kind: "reject", partition: reader.u32(), epoch: reader.u32() };
    case KINDS["state-keys"]:
      return readStateKeys(reader);
    case KINDS["state-more"]:
      return readStateMore(reader);
    case KINDS.state:
      return readState(reader);
    case KINDS.need:
      return readRange("need", reader);
    case KINDS.have:
      return readHave(reader);
    case KINDS.skip:
      return readRange("skip", reader);
    default:
      throw new WireError(`unknown kind of frame ${kind}`);
  }
}

function readFollow(reader: FieldReader): Follow {
  const [partition, epoch, ask, additions] = [reader.u32(), reader.u32(), reader.u32(), reader.u32()];
  const [start, end] = [reader.sequence(), reader.sequence()];
  const epochs = reader.list(EPOCH_BYTES, (): Epoch => ({ epoch: reader.u32(), firstSequence: reader.sequence() }));
  if (start > end) throw new WireError(`a log from ${start} to ${end}`);
  for (const [i, { epoch: one, firstSequence }] of epochs.entries()) {
    const before = epochs[i - 1] ?? { epoch: -1, firstSequence: 0 };
    if (one <= before.epoch || firstSequence < before.firstSequence || firstSequence > end) throw new WireError("epochs are not in order");
  }
  return { kind: "follow", partition, epoch, ask, additions, start, end, epochs };
}

function readAppend(reader: FieldReader): Append {
  const [partition, epoch, highWatermark] = [reader.u32(), reader.u32(), reader.sequence()];
  const run = readRun(reader);
  if (run.epoch > epoch) throw new WireError(`epoch ${epoch} sends commits of ${run.epoch}`);
  return { kind: "append", partition, epoch, highWatermark, run };
}

function readEnd(reader: FieldReader): ReplicaEnd {
  return { partition: reader.u32(), epoch: reader.u32(), end: reader.sequence(), synced: reader.sequence(), state: reader.sequence() - 1 };
}

function readMark(reader: FieldReader): Mark {
  return { partition: reader.u32(), epoch: reader.u32(), highWatermark: reader.sequence() };
}
