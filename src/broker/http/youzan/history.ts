import { json } from "../../../http/server/reply.ts";
import { sequenceAtTime } from "../../storage/log/records.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import { existingTopic, partitionArgument } from "../arguments.ts";
import type { BrokerApi, HttpCall } from "../call.ts";

const MS_PER_HOUR = 3_600_000;
const HOURS = 24;
/** Partitions that are looked at before others get their turn. */
const PER_SLICE = 8;

/**
 * GET /message/historystats?topic=[&partition=]: bytes that were published to a topic in each of the last 24 hours, the current one last, as
 * far as its logs still have them. Without a topic: those of the last hour, for each partition.
 */
export async function historyStats(call: HttpCall): Promise<Response> {
  if (call.query.get("topic") === undefined) return json({ node_hourly_pub_size_stats: await lastHours(call) });
  const topic = existingTopic(call);
  const named = partitionArgument(call, topic);
  const sums = new Array<number>(HOURS).fill(0);
  for (const { log } of named === undefined ? [...topic.partitions] : [named]) {
    for (const [hour, bytes] of hourlyBytes(call.broker, log, HOURS).entries()) sums[hour] += bytes;
    await new Promise(setImmediate);
  }
  return json({ hourly_pub_size: sums });
}

async function lastHours({ broker }: HttpCall): Promise<object[]> {
  const rows: object[] = [];
  for (const { name, partitions, deleted } of [...broker.registry.topics.values()]) {
    for (const { index, log } of deleted ? [] : [...partitions]) {
      rows.push({ topic_name: name, topic_partition: String(index), hourly_pub_size: hourlyBytes(broker, log, 1)[0] });
      if (rows.length % PER_SLICE === 0) await new Promise(setImmediate);
    }
  }
  return rows;
}

/** Bytes of a log that were written in each of the last hours, the current one last, to the precision of a batch. @throws UnreadableFile */
export function hourlyBytes({ turn }: Pick<BrokerApi, "turn">, log: TopicLog, hours: number): number[] {
  const nowMs = turn.toWall(turn.currentMs);
  let end = log.committedEnd;
  const bytes: number[] = [];
  for (let hour = 1; hour <= hours; hour++) {
    const start = positionNear(log, sequenceAtTime(log, nowMs - hour * MS_PER_HOUR));
    bytes.unshift(Math.max(0, end - start));
    end = Math.min(end, start);
  }
  return bytes;
}

/** The position of a message, or of its batch. Nothing is read for it that would push something else out of a cache. */
function positionNear(log: TopicLog, sequence: number): number {
  return sequence >= log.committedNext ? log.committedEnd : log.runAt(sequence).position;
}
