import { formatDuration, msToNs, nsToMs, parseDuration } from "../../base/go/duration.ts";
import { json, Refusal } from "../../http/server/reply.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import { existingTopic } from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { clusterOf, inCluster } from "./topic.ts";

/** Ten years. */
const MAX_TIME_MS = 87_600 * 3_600_000;
/** So that sums of positions are exact integers in a double. */
const MAX_BYTES = 2 ** 50;

/** GET /topic/retention?topic=: how long a topic keeps finished messages, and what its log has. */
export function getRetention(call: HttpCall): Response {
  return json(describe(existingTopic(call)));
}

/**
 * POST /topic/retention?topic=&time=&bytes=: sets how long, and how many bytes of, finished messages a topic keeps. An argument
 * that is not given is no limit. `default=true` sets what the flags say.
 */
export async function setRetention(call: HttpCall): Promise<Response> {
  const { query, broker } = call;
  const topic = existingTopic(call);
  if (topic.ephemeral) throw new Refusal(400, "EPHEMERAL_TOPIC");
  const time = query.get("time");
  const bytes = query.get("bytes");
  if (query.get("default") === "true") {
    if (time !== undefined || bytes !== undefined) throw new Refusal(400, "INVALID_ARG_DEFAULT");
    const { retentionTimeMs: retentionMs, retentionBytes } = broker.options;
    const cluster = clusterOf(call);
    if (cluster !== undefined) await inCluster(cluster.change(topic.name, { retentionMs, retentionBytes }));
    topic.setRetention(undefined);
  } else {
    if (time === undefined && bytes === undefined) throw new Refusal(400, "MISSING_ARG_TIME");
    const retention = { timeMs: parseTime(time ?? "0"), bytes: parseBytes(bytes ?? "0") };
    const cluster = clusterOf(call);
    if (cluster !== undefined)
      await inCluster(cluster.change(topic.name, { retentionMs: Math.ceil(retention.timeMs), retentionBytes: retention.bytes }));
    topic.setRetention(retention);
  }
  return json(describe(topic));
}

function describe(topic: Topic): object {
  const { timeMs, bytes, own } = topic.retention;
  const logs = topic.partitions.map(describeLog);
  return {
    topic_name: topic.name,
    time: formatDuration(msToNs(timeMs)),
    bytes,
    default: !own,
    log: logs[0],
    ...(logs.length > 1 ? { partitions: logs.map((log, i) => ({ partition: topic.partitions[i].index, ...log })) } : {}),
  };
}

function describeLog({ log }: TopicPartition): object {
  log.catchUp();
  const extent = log.files?.extent ?? { bytes: 0, oldestMs: 0 };
  return {
    beginning: log.startSequence,
    end: log.committedNext,
    bytes: extent.bytes,
    oldest: extent.oldestMs === 0 ? null : new Date(extent.oldestMs).toISOString(),
  };
}

function parseTime(text: string): number {
  const ns = parseDuration(text);
  const timeMs = ns === undefined ? Number.NaN : nsToMs(ns);
  if (!(timeMs >= 0 && timeMs <= MAX_TIME_MS)) throw new Refusal(400, "INVALID_ARG_TIME");
  return timeMs;
}

function parseBytes(text: string): number {
  const bytes = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(bytes <= MAX_BYTES)) throw new Refusal(400, "INVALID_ARG_BYTES");
  return bytes;
}
