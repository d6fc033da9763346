import { formatDuration } from "../../base/go/duration.ts";
import type { TextSlices } from "../../http/server/slices.ts";
import { versionLine } from "../../version.ts";
import { printLatency } from "../latency/percentiles.ts";
import type { ChannelStats, ClientStats, MemoryStats, TopicStats } from "../metrics/stats.ts";
import type { StatsWriter } from "./stats-steps.ts";

const NS_PER_MS = 1_000_000n;
const NS_PER_S = 1_000_000_000n;

/** The text form of /stats. Its layout is exactly nsqd's, because scripts read it by column. */
export class TextStats implements StatsWriter {
  private hasTopics = false;
  private hasProducers = false;

  constructor(
    private readonly out: TextSlices,
    memory: MemoryStats | undefined,
    health: string,
    startTimeMs: number,
    private readonly nowMs: number,
  ) {
    this.line(versionLine("nsqd"));
    this.line(`start_time ${localTime(new Date(startTimeMs))}`);
    this.line(`uptime ${formatDuration(BigInt(nowMs - startTimeMs) * NS_PER_MS)}`);
    this.line(`\nHealth: ${health}`);
    if (memory === undefined) return;
    this.line("\nMemory:");
    for (const [key, value] of Object.entries(memory)) this.line(`   ${left(key, 25)}\t${value}`);
  }

  beginTopic(topic: TopicStats): void {
    // The first topic is directly below the heading.
    this.line(this.hasTopics ? "" : "\nTopics:");
    this.hasTopics = true;
    this.line(
      `${topic.paused ? "*P " : "   "}[${left(topic.topic_name, 15)}] depth: ${left(topic.depth, 5)} be-depth: ${left(topic.backend_depth, 5)}` +
        ` msgs: ${left(topic.message_count, 8)} e2e%: ${printLatency(topic.e2e_processing_latency)}`,
    );
  }

  beginChannel(channel: ChannelStats): void {
    this.line(channelLine(channel));
  }

  client(client: ClientStats): void {
    this.line(`        ${clientLine(client, this.nowMs)}`);
  }

  endChannel(): void {}

  endTopic(): void {}

  endTopics(): void {
    if (!this.hasTopics) this.line("\nTopics: None");
  }

  producer(client: ClientStats): void {
    if (!this.hasProducers) this.line("\nProducers:");
    this.hasProducers = true;
    this.line(`   ${clientLine(client, this.nowMs)}`);
  }

  end(): void {
    if (!this.hasProducers) this.line("\nProducers: None");
  }

  private line(text: string): void {
    this.out.write(`${text}\n`);
  }
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
