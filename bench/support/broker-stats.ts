import { CHANNEL, TOPIC } from "../load/wire.ts";

const PATIENCE_MS = 10_000;
/** Characters of /stats that are shown in an error. */
const STATS_SHOWN = 1000;

/** The part of nsqd's /stats that a bench uses. */
interface TopicStats {
  topic_name: string;
  depth: number;
  message_count: number;
  channels: {
    channel_name: string;
    depth: number;
    in_flight_count: number;
    deferred_count: number;
    requeue_count: number;
    timeout_count: number;
  }[];
}

/** The topics of the load. */
function ofLoad(topics: TopicStats[]): TopicStats[] {
  return topics.filter(({ topic_name }) => topic_name === TOPIC || topic_name.startsWith(`${TOPIC}-`));
}

/** Creates the topic. @param more arguments of the call */
export async function createTopic(httpPort: number, more = ""): Promise<void> {
  await post(httpPort, `/topic/create?topic=${TOPIC}&${more}`);
}

/** Creates topic and channel, so that messages published from now on wait in the channel. @param more arguments of the channel's call */
export async function createChannel(httpPort: number, more = ""): Promise<void> {
  await createTopic(httpPort);
  await post(httpPort, `/channel/create?topic=${TOPIC}&channel=${CHANNEL}&${more}`);
}

async function post(httpPort: number, path: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${httpPort}${path}`, { method: "POST" });
  if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  await response.body?.cancel();
}

/** Waits until all `messages` are in the channel. nsqd moves them there after its OK. */
export async function untilFilled(httpPort: number, messages: number): Promise<void> {
  await untilStats(httpPort, `${messages} messages in the channel`, ([topic]) => topic?.channels[0]?.depth === messages);
}

/** Waits until the broker has `messages` messages, and all of them were published. */
export async function untilPublished(httpPort: number, messages: number): Promise<void> {
  const sum = (topics: TopicStats[], of: "message_count" | "depth") => topics.reduce((total, topic) => total + topic[of], 0);
  await untilStats(
    httpPort,
    `${messages} messages waiting`,
    (topics) => sum(topics, "message_count") === messages && sum(topics, "depth") === messages,
  );
}

/** Waits until no channel has messages waiting or in flight. No message may have been delivered twice. */
export async function untilDrained(httpPort: number): Promise<void> {
  await untilStats(httpPort, "all finished, none requeued or timed out", ([topic]) => {
    if (topic === undefined || topic.channels.length === 0) return false;
    const left = topic.channels.map((channel) => channel.depth + channel.in_flight_count + channel.requeue_count + channel.timeout_count);
    return left.reduce((sum, messages) => sum + messages, topic.depth) === 0;
  });
}

/** Waits until all `messages` are deferred in the channel. */
export async function untilDeferred(httpPort: number, messages: number): Promise<void> {
  await untilStats(httpPort, `${messages} messages deferred`, ([topic]) => {
    const channel = topic?.channels[0];
    return channel?.deferred_count === messages && channel.depth === 0 && channel.in_flight_count === 0;
  });
}

async function untilStats(httpPort: number, what: string, condition: (topics: TopicStats[]) => boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${httpPort}/stats?format=json`);
    const stats = (await response.json()) as { topics: TopicStats[] };
    const topics = ofLoad(stats.topics);
    if (condition(topics)) return;
    if (Date.now() > deadline) throw new Error(`expected ${what}; /stats says ${JSON.stringify(topics).slice(0, STATS_SHOWN)}`);
    await Bun.sleep(20);
  }
}
