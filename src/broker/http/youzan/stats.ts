import { encodeJson } from "../../../base/go/json.ts";
import { negotiatedSlices } from "../../../http/server/negotiated.ts";
import { TextSlices } from "../../../http/server/slices.ts";
import { NSQ_VERSION } from "../../../version.ts";
import { consumersOf, producersOf, readClient, readLatency, type Shown, shownChannels, shownTopics } from "../../metrics/stats.ts";
import { UnreadableFile } from "../../storage/disk/unreadable-file.ts";
import { timeAt } from "../../storage/log/records.ts";
import type { ChannelPartition } from "../../topics/channel/channel-partition.ts";
import type { TopicPartition } from "../../topics/topic-partition.ts";
import type { BrokerApi, HttpCall } from "../call.ts";
import { hourlyBytes } from "./history.ts";

/** Channels of one partition that are written in one step. */
const ROWS_PER_STEP = 16;
const NS_PER_MS = 1_000_000;
const NO_POSITION = -1;

/** Whether a caller of /stats has one of the arguments that only Youzan's nsqd has. Such a caller gets Youzan's document. */
export function isYouzanStats({ query }: Pick<HttpCall, "query">): boolean {
  return query.get("needClients") !== undefined || query.get("leaderOnly") !== undefined;
}

/**
 * GET /stats?format=json&needClients=true|false[&leaderOnly=][&topic=][&channel=][&partition=]: the statistics as Youzan's nsqd shows them, with
 * one entry for each partition of a topic. What is not known here is left out.
 */
export function youzanStats({ broker, query, request }: HttpCall, partition: number | undefined): Response {
  const show: Shown = {
    topicName: query.get("topic") ?? "",
    channelName: query.get("channel") ?? "",
    includeClients: query.get("needClients") === "true",
    withErrors: false,
    partition,
  };
  const out = new TextSlices();
  return negotiatedSlices(request, out, writeStats(broker, show, out));
}

function* writeStats(broker: BrokerApi, show: Shown, out: TextSlices): Generator<void> {
  const head = { version: NSQ_VERSION, health: broker.health.text, start_time: Math.floor(broker.startTimeMs / 1000) };
  out.write(`${encodeJson(head).slice(0, -1)},"topics":[`);
  const due = new DueTimes(broker);
  let isFirst = true;
  for (const topic of shownTopics(broker, show) ?? []) {
    for (const partition of [...topic.partitions]) {
      if (topic.deleted || (show.partition !== undefined && partition.index !== show.partition)) continue;
      if (!isFirst) out.write(",");
      isFirst = false;
      yield* writePartition(broker, partition, show, out, due);
    }
  }
  out.write("]}");
}

function* writePartition(broker: BrokerApi, partition: TopicPartition, show: Shown, out: TextSlices, due: DueTimes): Generator<void> {
  const { topic, index } = partition;
  const full = `${topic.name}-${index}`;
  out.write(`{"topic_name":${encodeJson(topic.name)},"topic_full_name":${encodeJson(full)},"topic_partition":"${index}","channels":[`);
  let rows = 0;
  for (const channel of shownChannels(topic, show) ?? []) {
    const part = channel.partAt(index);
    if (channel.deleted || part === undefined) continue;
    out.write((rows === 0 ? "" : ",") + encodeJson(channelStats(broker, part, show, due)));
    if (++rows % ROWS_PER_STEP === 0) yield;
  }
  out.write(`],${encodeJson(topicStats(broker, partition, show)).slice(1)}`);
  yield;
}

/** What an entry has behind its channels. */
function topicStats(broker: BrokerApi, partition: TopicPartition, show: Shown): object {
  const { topic, log, messageCount } = partition;
  const { ordered, multiPart, extended, fixedChannels } = topic.settings;
  const producers = show.includeClients ? [...producersOf(broker)].filter(({ publisher }) => publisher.counts.has(topic.name)) : [];
  const start = orUnknown(() => log.locate(log.startSequence)) ?? 0;
  return {
    channel_num: topic.channels.size,
    depth: log.committedEnd - start,
    backend_depth: log.committedEnd - start,
    backend_start: start,
    message_count: messageCount,
    is_leader: true,
    hourly_pubsize: orUnknown(() => hourlyBytes(broker, log, 1)[0]) ?? 0,
    client_pub_stats: producers.map(({ remoteAddress, identity, publisher, publishErrors }) => ({
      remote_address: remoteAddress,
      user_agent: identity.userAgent,
      pub_count: publisher.counts.get(topic.name),
      error_count: publishErrors,
    })),
    client_num: producers.length,
    is_multi_ordered: ordered === true,
    is_multi_part: multiPart === true,
    is_ext: extended === true,
    is_channel_auto_create_disabled: fixedChannels === true,
    statsd_name: topic.name,
    e2e_processing_latency: readLatency(broker.percentiles, topic.channels.values()),
  };
}

function channelStats(broker: BrokerApi, part: ChannelPartition, show: Shown, due: DueTimes): object {
  const { channel, partition, inFlight, deferrals, floor } = part;
  const { log, released } = partition;
  const consumers = channel.consumers.filter(({ onlyLog }) => onlyLog === undefined || onlyLog === log);
  const backlogBytes = Math.max(0, log.committedEnd - part.position);
  const oldestMs = floor < released ? orUnknown(() => timeAt(log, floor, NO_POSITION)) : undefined;
  return {
    channel_name: channel.name,
    depth: part.depth,
    depth_size: backlogBytes,
    depth_ts: oldestMs === undefined ? "" : new Date(oldestMs).toISOString(),
    depth_ts_nano: Math.round((oldestMs ?? 0) * NS_PER_MS),
    backend_depth: backlogBytes,
    in_flight_count: part.inFlightCount,
    deferred_count: inFlight.deferredCount,
    deferred_from_delay_count: inFlight.detached.size,
    message_count: part.messageCount,
    requeue_count: part.requeueCount,
    timeout_count: part.timeoutCount,
    clients: show.includeClients ? clientStats(broker, part, show) : [],
    client_num: consumers.length,
    paused: part.paused,
    skipped: channel.settings.limits.skips,
    zan_test_skipped: channel.settings.limits.skipsZanTest,
    delayed_queue_count: deferrals.storedCount,
    ...due.statsOf(part),
    e2e_processing_latency: readLatency(broker.percentiles, [channel]),
  };
}

function clientStats(broker: BrokerApi, { channel, partition }: ChannelPartition, show: Shown): object[] {
  const consumers = new Map(channel.consumers.map((consumer) => [consumer.id, consumer]));
  return [...consumersOf(broker, channel)].flatMap((connection) => {
    const consumer = consumers.get(connection.id);
    if (consumer === undefined || (consumer.onlyLog !== undefined && consumer.onlyLog !== partition.log)) return [];
    const { tag, filter } = consumer.wishes ?? {};
    return [
      {
        ...readClient(connection, show),
        desired_tag: tag?.toString() ?? "",
        ...(filter === undefined ? {} : { ext_filter: filter.toJson() }),
        msg_timeout: consumer.msgTimeoutMs,
      },
    ];
  });
}

/** When the first message of each channel is due that waits in the deferred store, as far as it is in memory: those that are due soon are. */
class DueTimes {
  private times: Map<number, number> | undefined;

  constructor(private readonly broker: Pick<BrokerApi, "deferred" | "turn">) {}

  statsOf({ id, deferrals }: ChannelPartition): { delayed_queue_recent?: string; delayed_queue_recent_nano?: number } {
    if (deferrals.storedCount === 0) return { delayed_queue_recent: "", delayed_queue_recent_nano: 0 };
    this.times ??= this.read();
    const dueMs = this.times.get(id);
    if (dueMs === undefined) return {};
    const wallMs = this.broker.turn.toWall(dueMs);
    return { delayed_queue_recent: new Date(wallMs).toISOString(), delayed_queue_recent_nano: Math.round(wallMs * NS_PER_MS) };
  }

  private read(): Map<number, number> {
    const times = new Map<number, number>();
    this.broker.deferred.findInMemory(({ channelId, dueMs }) => {
      const known = times.get(channelId);
      if (known === undefined || dueMs < known) times.set(channelId, dueMs);
      return false;
    });
    return times;
  }
}

/** @returns undefined if a file cannot be read */
function orUnknown<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof UnreadableFile) return undefined;
    throw error;
  }
}
