import type { CommitRun } from "../../broker/storage/log/commit-run.ts";
import { type FieldReader, type FieldWriter, WireError } from "../replication/fields.ts";
import { readRun, runBytes, writeRun } from "../replication/run-fields.ts";

// What brokers say to each other about damaged messages of a partition:
//
//   NEED  partition, epoch, from, to. "Messages [from, to) are damaged here": by a follower to its leader, and by a leader to its followers.
//   HAVE  partition, epoch, from, answer u8, start, and if the answer is 0 some of the commits from there on: see replication/run-fields.ts
//         0: here they are; 1: ask again later; 2: they are not here; 3: they were removed, as nobody needs them. The log begins at `start`.
//   SKIP  partition, epoch, from, to. "Nobody has messages [from, to): go on behind them", by the leader.

const ANSWERS = ["records", "later", "lacking", "removed"] as const;

export interface Need {
  readonly kind: "need";
  readonly partition: number;
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
}

export interface Have {
  readonly kind: "have";
  readonly partition: number;
  readonly epoch: number;
  readonly from: number;
  readonly answer: (typeof ANSWERS)[number];
  /** The first sequence of the log. */
  readonly start: number;
  /** Undefined unless the answer is "records". */
  readonly run: CommitRun | undefined;
}

export interface Skip {
  readonly kind: "skip";
  readonly partition: number;
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
}

export type RepairFrame = Need | Have | Skip;

/** No less than its fields take. */
export function repairBytes(frame: RepairFrame): number {
  return 64 + (frame.kind === "have" && frame.run !== undefined ? runBytes(frame.run) : 0);
}

/** Writes what follows the partition and the epoch. */
export function writeRepair(writer: FieldWriter, frame: RepairFrame): void {
  writer.sequence(frame.from);
  if (frame.kind !== "have") return writer.sequence(frame.to);
  writer.u8(ANSWERS.indexOf(frame.answer));
  writer.sequence(frame.start);
  if (frame.run !== undefined) writeRun(writer, frame.run);
}

export function readRange<K extends "need" | "skip">(kind: K, reader: FieldReader) {
  const [partition, epoch, from, to] = [reader.u32(), reader.u32(), reader.sequence(), reader.sequence()];
  if (from >= to) throw new WireError(`messages from ${from} to ${to}`);
  return { kind, partition, epoch, from, to };
}

export function readHave(reader: FieldReader): Have {
  const [partition, epoch, from, number, start] = [reader.u32(), reader.u32(), reader.sequence(), reader.u8(), reader.sequence()];
  const answer = ANSWERS[number];
  if (answer === undefined) throw new WireError(`answer ${number}`);
  return { kind: "have", partition, epoch, from, answer, start, run: answer === "records" ? readRun(reader) : undefined };
}
