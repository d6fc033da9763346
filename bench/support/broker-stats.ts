import { CHANNEL, TOPIC } from "../load/wire.ts";

const PATIENCE_MS = 10_000;

/** nsqd's /stats, as far as a bench needs it. */
interface TopicStats {
  topic_name: string;
  depth: number;
  message_count: number;
  channels: { channel_name: string; depth: number; in_flight_count: number; requeue_count: number; timeout_count: number }[];
}

/** Makes topic and channel, so that what is published from now on waits in the channel. */
export async function createChannel(httpPort: number): Promise<void> {
  for (const path of [`/topic/create?topic=${TOPIC}`, `/channel/create?topic=${TOPIC}&channel=${CHANNEL}`]) {
    const response = await fetch(`http://127.0.0.1:${httpPort}${path}`, { method: "POST" });
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  }
}

/** Waits until all `messages` are in the channel: nsqd moves them there after it has said OK. */
export async function untilFilled(httpPort: number, messages: number): Promise<void> {
  await untilStats(httpPort, `${messages} messages in the channel`, (topic) => topic.channels[0]?.depth === messages);
}

/** Waits until the broker counts `messages` published and none lost. */
export async function untilPublished(httpPort: number, messages: number): Promise<void> {
  await untilStats(httpPort, `${messages} messages waiting`, (topic) => topic.message_count === messages && topic.depth === messages);
}

/** Waits until the channel has nothing left and nothing in flight; nothing may have been delivered twice. */
export async function untilDrained(httpPort: number): Promise<void> {
  await untilStats(httpPort, "all finished, none requeued or timed out", ({ depth, channels: [channel] }) => {
    if (channel === undefined) return false;
    return depth + channel.depth + channel.in_flight_count + channel.requeue_count + channel.timeout_count === 0;
  });
}

async function untilStats(httpPort: number, what: string, condition: (topic: TopicStats) => boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${httpPort}/stats?format=json&topic=${TOPIC}`);
    const stats = (await response.json()) as { topics: TopicStats[] };
    const topic = stats.topics.find(({ topic_name }) => topic_name === TOPIC);
    if (topic !== undefined && condition(topic)) return;
    if (Date.now() > deadline) throw new Error(`expected ${what}; /stats says ${JSON.stringify(topic)}`);
    await Bun.sleep(20);
  }
}
