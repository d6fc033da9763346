import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DiskqueueProblem } from "../../../src/nsqd-data/diskqueue-problem.ts";
import { type DiskqueueReader, type DiskqueueReaderOptions, openDiskqueue } from "../../../src/nsqd-data/diskqueue-reader.ts";
import { type SourceFiles, systemFiles } from "../../../src/nsqd-data/files.ts";
import { listQueues } from "../../../src/nsqd-data/queue-files.ts";

/** A message in a test. */
export interface Message {
  id: string;
  timestampNs: bigint;
  attempts: number;
  body: Buffer;
}

/** Message number `n`, with a body that depends on `n`. */
export function message(n: number, bodyBytes = 10): Message {
  const body = Buffer.alloc(bodyBytes, `${n};`);
  return { id: n.toString(16).padStart(16, "0"), timestampNs: 1_700_000_000_000_000_000n + BigInt(n), attempts: n % 5, body };
}

export function messages(count: number, bodyBytes = 10, first = 0): Message[] {
  return Array.from({ length: count }, (_, i) => message(first + i, bodyBytes));
}

/** The record of a message without its size word. */
export function payload({ id, timestampNs, attempts, body }: Message): Buffer {
  const head = Buffer.alloc(26);
  head.writeBigInt64BE(timestampNs, 0);
  head.writeUInt16BE(attempts, 8);
  head.write(id, 10, "latin1");
  return Buffer.concat([head, body]);
}

/** A record: size and message. */
export function record(one: Message): Buffer {
  const bytes = payload(one);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(bytes.length);
  return Buffer.concat([size, bytes]);
}

export function records(list: readonly Message[]): Buffer {
  return Buffer.concat(list.map(record));
}

/** Writes the files of a queue into a folder: message files by number, and the metadata file unless undefined. */
export function putQueue(folder: string, files: Record<number, Uint8Array>, metadata?: string, prefix = "t"): void {
  for (const [number, bytes] of Object.entries(files)) {
    writeFileSync(join(folder, `${prefix}.diskqueue.${number.padStart(6, "0")}.dat`), bytes);
  }
  if (metadata !== undefined) writeFileSync(join(folder, `${prefix}.diskqueue.meta.dat`), metadata);
}

export interface Reading {
  messages: Message[];
  problems: DiskqueueProblem[];
  reader: DiskqueueReader;
}

/** Reads a queue to its end. */
export function readQueue(folder: string, options: DiskqueueReaderOptions = {}, prefix = "t"): Reading {
  const problems: DiskqueueProblem[] = [];
  const queue = listQueues(folder).find((one) => one.prefix === prefix);
  if (queue === undefined) throw new Error(`no queue ${prefix}`);
  const reader = openDiskqueue(folder, queue, { ...options, onProblem: (problem) => problems.push(problem) });
  return { messages: drain(reader), problems, reader };
}

/** The remaining messages of a reader; the bodies are copies. */
export function drain(reader: DiskqueueReader): Message[] {
  const read: Message[] = [];
  for (let batch = reader.next(); batch !== undefined; batch = reader.next()) {
    for (let i = 0; i < batch.count; i++) {
      const at = batch.bodyAt[i] ?? 0;
      read.push({
        id: batch.buffer.toString("latin1", at - 16, at),
        timestampNs: BigInt.asIntN(64, (BigInt(batch.timestampHigh[i] ?? 0) << 32n) | BigInt(batch.timestampLow[i] ?? 0)),
        attempts: batch.attempts[i] ?? 0,
        body: Buffer.from(batch.buffer.subarray(at, at + (batch.bodyBytes[i] ?? 0))),
      });
    }
  }
  return read;
}

/** One line for each problem: kind, file, offset and bytes. */
export function problemLines(problems: readonly DiskqueueProblem[]): string[] {
  return problems.map(({ kind, file, offset, bytes }) => `${kind} ${file} ${offset}+${bytes}`);
}

/** Files of which one read fails with EIO: the read with number `failing`, from 1. */
export function failingFiles(failing: number): SourceFiles {
  let calls = 0;
  return {
    ...systemFiles,
    read: (fd, buffer, at, length, position) => {
      if (++calls === failing) throw Object.assign(new Error("EIO: i/o error, read"), { code: "EIO" });
      return systemFiles.read(fd, buffer, at, length, position);
    },
  };
}
