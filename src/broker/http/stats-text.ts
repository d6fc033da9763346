import { formatDuration } from "../../base/go/duration.ts";
import { versionLine } from "../../version.ts";
import { printLatency } from "../latency/percentiles.ts";
import type { ChannelStats, ClientStats, MemoryStats, Stats, TopicStats } from "../metrics/stats.ts";

const NS_PER_MS = 1_000_000n;
const NS_PER_S = 1_000_000_000n;

/** The text form of /stats. Its layout is exactly nsqd's, because scripts read it by column. */
export function printStats(stats: Stats, memory: MemoryStats | undefined, health: string, startTimeMs: number, nowMs: number): string {
  const lines = [
    versionLine("nsqd"),
    `start_time ${localTime(new Date(startTimeMs))}`,
    `uptime ${formatDuration(BigInt(nowMs - startTimeMs) * NS_PER_MS)}`,
    "",
    `Health: ${health}`,
  ];
  if (memory !== undefined) {
    lines.push("", "Memory:");
    for (const [key, value] of Object.entries(memory)) lines.push(`   ${left(key, 25)}\t${value}`);
  }
  const { topics, producers } = stats;
  lines.push("", topics === null || topics.length === 0 ? "Topics: None" : "Topics:");
  topics?.forEach((topic, i) => {
    // The first topic is directly below the heading.
    if (i > 0) lines.push("");
    lines.push(...topicLines(topic, nowMs));
  });
  lines.push("", producers === null ? "Producers: None" : "Producers:");
  for (const producer of producers ?? []) lines.push(`   ${clientLine(producer, nowMs)}`);
  return `${lines.join("\n")}\n`;
}

function topicLines(topic: TopicStats, nowMs: number): string[] {
  return [
    `${topic.paused ? "*P " : "   "}[${left(topic.topic_name, 15)}] depth: ${left(topic.depth, 5)} be-depth: ${left(topic.backend_depth, 5)}` +
      ` msgs: ${left(topic.message_count, 8)} e2e%: ${printLatency(topic.e2e_processing_latency)}`,
    ...topic.channels.flatMap((channel) => [
      channelLine(channel),
      ...(channel.clients ?? []).map((client) => `        ${clientLine(client, nowMs)}`),
    ]),
  ];
}

function channelLine(channel: ChannelStats): string {
  return (
    `${channel.paused ? "   *P " : "      "}[${left(channel.channel_name, 25)}] depth: ${left(channel.depth, 5)} be-depth: ${left(channel.backend_depth, 5)}` +
    ` inflt: ${left(channel.in_flight_count, 4)} def: ${left(channel.deferred_count, 4)} re-q: ${left(channel.requeue_count, 5)}` +
    ` timeout: ${left(channel.timeout_count, 5)} msgs: ${left(channel.message_count, 8)} e2e%: ${printLatency(channel.e2e_processing_latency)}`
  );
}

function clientLine(client: ClientStats, nowMs: number): string {
  const port = client.remote_address.slice(client.remote_address.lastIndexOf(":") + 1);
  const who = `[${client.version} ${left(`${client.hostname}:${port} ${client.user_agent}`, 21)}]`;
  const connected = formatDuration(BigInt(Math.max(0, Math.floor(nowMs / 1000) - client.connect_ts)) * NS_PER_S);
  if (client.pub_counts !== undefined) {
    const total = client.pub_counts.reduce((sum, { count }) => sum + count, 0);
    const topics = client.pub_counts.map(({ topic, count }) => `${topic}=${count}`).join(",");
    return `${who} msgs: ${left(total, 8)} topics: ${topics} connected: ${connected}`;
  }
  return (
    `${who} state: ${client.state} inflt: ${left(client.in_flight_count, 4)} rdy: ${left(client.ready_count, 4)} fin: ${left(client.finish_count, 8)}` +
    ` re-q: ${left(client.requeue_count, 8)} msgs: ${left(client.message_count, 8)} connected: ${connected}`
  );
}

/** Go's `%-25s`: pads to a number of characters, and never cuts. */
function left(value: string | number, width: number): string {
  const text = String(value);
  return text + " ".repeat(Math.max(0, width - [...text].length));
}

/** RFC 3339 in the local time zone, as Go prints it: `2026-11-22T08:05:00+01:00`, or with Z in UTC. */
function localTime(at: Date): string {
  const offsetMinutes = -at.getTimezoneOffset();
  const local = new Date(at.getTime() + offsetMinutes * 60_000).toISOString().slice(0, "2026-11-22T08:05:00".length);
  if (offsetMinutes === 0) return `${local}Z`;
  const size = Math.abs(offsetMinutes);
  return `${local}${offsetMinutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
