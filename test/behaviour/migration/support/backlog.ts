import { post, startNsqd, stats, untilStats } from "../../../nsqd-data/support/go-nsqd.ts";
import type { Random } from "../../../support/random.ts";
import { RawClient } from "../../../support/raw-client.ts";
import { type Server, until } from "../../../support/server.ts";

const TOPICS = 20;
const CHANNELS = ["a", "b", "c"];
/** Topics of a broker that have several partitions: the largest, one with deferred publishes, one without channels, and a paused one. */
const SPLIT = new Set(["topic0", "topic3", "topic18", "topic19"]);
const DELAY_MS = 3_600_000;
/** Messages of one MPUB. */
const BATCH = 50;
const TIMEOUT_MS = 120_000;
/** nsqd's files have 10 MiB with 200,000 messages. */
const BYTES_PER_FILE_AND_MESSAGE = 10_485_760 / 200_000;

/** For brokers that are filled. */
export const FLAGS = ["--max-rdy-count=1000000", "--msg-timeout=15m"];

/** What a consumer does with a message; undefined: it keeps it in flight. */
const ACTIONS = [
  (id: string) => `FIN ${id}`,
  (id: string) => `FIN ${id}`,
  (id: string) => `FIN ${id}`,
  (id: string) => `REQ ${id} 0`,
  (id: string) => `REQ ${id} ${DELAY_MS}`,
  undefined,
];

/** Every message that a channel was sent, one line each: time of publishing, attempts, size and hash of the body; by "topic channel". */
export type Deliveries = Map<string, string[]>;

/** Starts Go's nsqd on a data path, has fill() work on it, and stops it. */
export async function fillNsqd(folder: string, messages: number, random: Random): Promise<void> {
  const fileBytes = Math.ceil(messages * BYTES_PER_FILE_AND_MESSAGE);
  const server = await startNsqd(folder, ["--mem-queue-size=100", `--max-bytes-per-file=${fileBytes}`, ...FLAGS]);
  await fill(server, messages, random);
}

/**
 * Fills a broker and stops it: topics with three channels, of which some are paused; messages that were finished,
 * requeued, deferred or in flight; a paused topic whose messages wait, and a topic without channels. Some topics of a broker of ours have
 * several partitions.
 *
 * @returns how many messages each channel has still to get, by "topic channel"; "topic" for a topic's own
 */
export async function fill(
  server: Server,
  messages: number,
  random: Random,
  signal: NodeJS.Signals = "SIGTERM",
): Promise<Map<string, number>> {
  const topics = Array.from({ length: TOPICS }, (_, i) => `topic${i}`);
  for (const topic of topics) {
    // nsqd takes no notice of the number.
    await post(server, `/topic/create?topic=${topic}${SPLIT.has(topic) ? "&partition_num=3" : ""}`);
    if (topic === "topic18") continue;
    for (const channel of CHANNELS) await post(server, `/channel/create?topic=${topic}&channel=${channel}`);
  }
  await post(server, "/channel/create?topic=topic0&channel=gone%23ephemeral", "/topic/create?topic=gone%23ephemeral");
  const parts = topics.map((_, i) => Math.floor((messages * (i === 0 ? 0.3 : 0.7 / (TOPICS - 1))) / 2));
  const publisher = await RawClient.connect(server.tcpPort);
  const clients: RawClient[] = [publisher];
  for (const half of [0, 1]) {
    for (const [i, topic] of topics.entries()) {
      await publish(publisher, topic, parts[i] ?? 0, half, random);
      if (topic === "topic18" || (topic === "topic19" && half === 1)) continue;
      const all = (parts[i] ?? 0) * (half + 1);
      for (const channel of CHANNELS) {
        await untilStats(server, topic, channel, (found) => {
          return half === 1 || found.depth + found.in_flight_count + found.deferred_count === all;
        });
      }
      if (half === 0) clients.push(...(await work(server, topic, parts[i] ?? 0, random)));
    }
    await post(server, "/topic/pause?topic=topic19", "/channel/pause?topic=topic1&channel=b", "/channel/pause?topic=topic2&channel=c");
  }
  for (const topic of topics.slice(3, 6)) {
    for (let n = 0; n < 10; n++) {
      if ((await publisher.call(`DPUB ${topic} ${DELAY_MS}`, `later ${n}`)) !== "OK") throw new Error("DPUB was refused");
    }
  }
  await until("the broker has passed all messages on", async () =>
    (await stats(server)).every(({ topic_name, depth }) => depth === 0 || topic_name === "topic18" || topic_name === "topic19"),
  );
  const counts = (await stats(server)).flatMap(({ topic_name, depth, channels }): [string, number][] => [
    [topic_name, depth],
    ...channels.map((one): [string, number] => [`${topic_name} ${one.channel_name}`, one.depth + one.in_flight_count + one.deferred_count]),
  ]);
  await server.stop(signal);
  for (const client of clients) client.terminate();
  return new Map(counts);
}

async function publish(client: RawClient, topic: string, count: number, half: number, random: Random): Promise<void> {
  for (let first = 0; first < count; first += BATCH) {
    const bodies = Array.from({ length: Math.min(BATCH, count - first) }, (_, i) => {
      const name = `${topic} ${half} ${first + i} `;
      return Buffer.alloc(name.length + random.int(0, 900), name);
    });
    client.mpub(topic, bodies);
    const answer = await client.response();
    if (answer !== "OK") throw new Error(answer);
  }
}

/** Consumers of two channels take some messages, and finish, requeue or keep them. */
async function work(server: Server, topic: string, count: number, random: Random): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  for (const channel of CHANNELS.slice(0, 2)) {
    const client = await RawClient.connect(server.tcpPort);
    clients.push(client);
    await client.call(`SUB ${topic} ${channel}`);
    const taken = random.int(1, Math.max(1, Math.floor(count / 2)));
    client.command(`RDY ${taken}`);
    let inFlight = 0;
    const ids: string[] = [];
    while (ids.length < taken) ids.push((await client.message()).id);
    client.command("RDY 0");
    for (const id of ids) {
      const action = random.pick(ACTIONS);
      if (action === undefined) inFlight++;
      else client.command(action(id));
    }
    await untilStats(server, topic, channel, (found) => found.in_flight_count === inFlight);
  }
  return clients;
}

/** Unpauses everything, gives each topic without channels one, and takes all messages. */
export async function drainAll(server: Server): Promise<Deliveries> {
  const found: Deliveries = new Map();
  const clients: RawClient[] = [];
  for (const { topic_name: topic, channels } of await stats(server)) {
    await post(server, `/topic/unpause?topic=${topic}`);
    if (channels.length === 0) await post(server, `/channel/create?topic=${topic}&channel=first`);
    for (const channel of channels.length === 0 ? ["first"] : channels.map(({ channel_name }) => channel_name)) {
      await post(server, `/channel/unpause?topic=${topic}&channel=${channel}`);
      const client = await RawClient.connect(server.tcpPort);
      clients.push(client);
      await client.call(`SUB ${topic} ${channel}`);
      const lines: string[] = [];
      found.set(`${topic} ${channel}`, lines);
      client.onFrame = ({ type, id, attempts, timestampNs, data }) => {
        if (type !== "message") return;
        lines.push(`${timestampNs} ${attempts} ${data.length} ${Bun.hash(data).toString(16)}`);
        client.command(`FIN ${id}`);
      };
      client.command("RDY 500");
    }
  }
  const isEmpty = (part: { depth: number; in_flight_count?: number; deferred_count?: number }) =>
    part.depth === 0 && (part.in_flight_count ?? 0) === 0 && (part.deferred_count ?? 0) === 0;
  await until(
    "everything is delivered",
    async () => (await stats(server)).every((topic) => isEmpty(topic) && topic.channels.every(isEmpty)),
    TIMEOUT_MS,
  );
  for (const client of clients) client.close();
  for (const lines of found.values()) lines.sort();
  return found;
}

/** Which topics and channels there are, and which are paused, as /stats shows them. */
export async function shape(server: Server): Promise<string[]> {
  return (await stats(server))
    .flatMap(({ topic_name, paused, channels }) => [
      `${topic_name} ${paused}`,
      ...channels.map((channel) => `${topic_name} ${channel.channel_name} ${channel.paused}`),
    ])
    .sort();
}

/** How many messages there are in all channels. */
export function total(deliveries: Deliveries): number {
  return [...deliveries.values()].reduce((sum, lines) => sum + lines.length, 0);
}
