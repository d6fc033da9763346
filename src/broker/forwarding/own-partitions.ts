import { MESSAGE_OVERHEAD_BYTES } from "../../frame/frame.ts";
import { bodyAt, encodedHeader, MAX_HEADER_BYTES } from "../../frame/header.ts";
import { MessageBatch } from "../../frame/message-batch.ts";
import { MpubCheck } from "../../frame/mpub.ts";
import type { PendingPublish } from "../acks/pending-publish.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { ForwardAnswer, ForwardedPublish, MessagePlace } from "./forwarded-publish.ts";

/** Bytes of the number of messages that a batch begins with, and of the size in front of each. */
const WORD = 4;
/** A record has no more bytes than this beside its body. */
const MOST_RECORD_BYTES = MESSAGE_OVERHEAD_BYTES + WORD + MAX_HEADER_BYTES;

/** Used by each publish in turn. */
const check = new MpubCheck();
const batch = new MessageBatch();

export interface OwnPartitionsParts {
  readonly options: { readonly maxMsgSizeBytes: number; readonly maxBodySizeBytes: number };
  readonly registry: { readonly topics: ReadonlyMap<string, Topic> };
  readonly publishing: Publishing;
  readonly turn: { readClock(): void };
}

/** Carries out what is published to the partitions that this broker leads, and was forwarded by another broker, or has waited here. */
export class OwnPartitions {
  constructor(private readonly parts: OwnPartitionsParts) {}

  /** @param done called once, perhaps from within this call */
  publish(publish: ForwardedPublish, done: (answer: ForwardAnswer) => void): void {
    const { publishing, registry, turn } = this.parts;
    const partition = registry.topics.get(publish.topic)?.partition(publish.partition);
    if (partition === undefined || !partition.serving || publishing.leavingRefusal() !== undefined) return done({ kind: "not-leader" });
    const refusal = publishing.refusalFor(partition.topic);
    if (refusal !== undefined) return done({ kind: "refused", reason: refusal.message });
    const wrong = this.check(publish);
    if (wrong !== undefined) return done({ kind: "refused", reason: wrong });
    const { log, index } = partition;
    turn.readClock();
    const place: MessagePlace = { partition: index, prefix: log.prefix, sequence: log.next, position: log.end };
    const pending = this.append(partition, publish);
    const isRepeated = publishing.appended === 0;
    publishing.untilDone(pending).then(
      () => done({ kind: "done", place: isRepeated ? undefined : place }),
      (error: Error) => {
        // A commit that failed has left nothing in the log. Later ones may have failed when replicas refuse this one.
        const isUnwritten = pending.target.failure?.message === error.message;
        done({ kind: isUnwritten ? "refused" : "unknown", reason: error.message });
      },
    );
  }

  /** What is wrong with the messages; this broker may have other limits than the one that took them. */
  private check({ command, messages, isRecords }: ForwardedPublish): string | undefined {
    const { maxMsgSizeBytes, maxBodySizeBytes } = this.parts.options;
    const more = isRecords ? MOST_RECORD_BYTES : 0;
    // A single message may be as long as it may be, whatever a body may have.
    const mostBytes = Math.max(maxBodySizeBytes, maxMsgSizeBytes + 2 * WORD);
    if (!check.reset().resume(messages, 0, messages.length, maxMsgSizeBytes + more, isRecords ? Number.POSITIVE_INFINITY : mostBytes)) {
      return "its messages are cut off";
    }
    if (check.error !== undefined) return check.error.text;
    if (check.count > 1 && command !== "MPUB") return `${command} of ${check.count} messages`;
    if (check.offset !== messages.length) return "there is more than its messages";
    if (!isRecords) return undefined;
    batch.reset();
    for (let at = WORD; at < messages.length; ) {
      const end = at + WORD + messages.readUInt32BE(at);
      if (end - at <= MESSAGE_OVERHEAD_BYTES + WORD || bodyAt(messages, at) >= end) return "a record is too short";
      const header = encodedHeader(messages, at);
      const body = bodyAt(messages, at);
      if (end - body > maxMsgSizeBytes) return `MPUB message too big ${end - body} > ${maxMsgSizeBytes}`;
      batch.addEncoded(header, body, end);
      at = end;
    }
    return undefined;
  }

  private append(
    partition: TopicPartition,
    { command, key, deferMs, origin: name, isRecords, messages }: ForwardedPublish,
  ): PendingPublish {
    const { publishing } = this.parts;
    const origin = partition.trace && { traceName: partition.trace.named(name) };
    const first = WORD;
    if (command === "DPUB") {
      const header = isRecords ? encodedHeader(messages, first) : undefined;
      const from = isRecords ? bodyAt(messages, first) : first + WORD;
      return publishing.defer(partition, key, messages, from, messages.length, deferMs, origin, header);
    }
    const pending = command === "PUB" ? partition.pendingPub : partition.pendingMpub;
    if (isRecords) return publishing.appendMessages(partition, key, messages, batch, 0, batch.count, origin, pending);
    if (command === "PUB") return publishing.append(partition, key, messages, first + WORD, messages.length, origin);
    return publishing.appendBatch(partition, key, messages, first, messages.length, check.count, origin);
  }
}
