import { openDiskqueue } from "../../../src/nsqd-data/diskqueue-reader.ts";
import { listQueues } from "../../../src/nsqd-data/queue-files.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import { drain, type Message } from "./queue-fixture.ts";

/** A channel in /stats. */
export interface ChannelStats {
  channel_name: string;
  depth: number;
  in_flight_count: number;
  deferred_count: number;
  paused: boolean;
}
/** A topic in /stats. */
export interface TopicStats {
  topic_name: string;
  depth: number;
  paused: boolean;
  channels: ChannelStats[];
}

/** Starts Go's nsqd on a data path, which is kept afterwards. */
export function startNsqd(dataPath: string, args: string[] = []): Promise<Server> {
  return startServer({ program: "nsqd", dataPath, args });
}

/** POSTs to nsqd's HTTP API, one after another. */
export async function post(server: Server, ...calls: string[]): Promise<void> {
  for (const call of calls) {
    const answer = await server.http("POST", call);
    if (!answer.ok) throw new Error(`${call}: ${answer.status} ${await answer.text()}`);
  }
}

export async function stats(server: Server): Promise<TopicStats[]> {
  const answer = (await (await server.http("GET", "/stats?format=json")).json()) as { topics: TopicStats[] };
  return answer.topics;
}

/** Waits until a channel in /stats (or a topic, if `channel` is "") meets a condition. */
export function untilStats(
  server: Server,
  topic: string,
  channel: string,
  check: (found: TopicStats & ChannelStats) => boolean,
): Promise<void> {
  return until(`stats of ${topic}/${channel}`, async () => {
    const found = (await stats(server)).find(({ topic_name }) => topic_name === topic);
    const part = channel === "" ? found : found?.channels.find(({ channel_name }) => channel_name === channel);
    return part !== undefined && check(part as TopicStats & ChannelStats);
  });
}

/** Publishes with MPUB. */
export async function publish(server: Server, topic: string, bodies: readonly Buffer[]): Promise<void> {
  const client = await RawClient.connect(server.tcpPort);
  for (let i = 0; i < bodies.length; i += 100) {
    client.mpub(topic, bodies.slice(i, i + 100));
    const answer = await client.response();
    if (answer !== "OK") throw new Error(answer);
  }
  client.close();
}

/** Consumes and finishes messages of a channel. */
export async function consume(server: Server, topic: string, channel: string, count: number): Promise<Message[]> {
  const client = await RawClient.connect(server.tcpPort);
  await client.call(`SUB ${topic} ${channel}`);
  client.command("RDY 100");
  const taken: Message[] = [];
  while (taken.length < count) {
    const { id, timestampNs, attempts, data } = await client.message();
    taken.push({ id, timestampNs, attempts, body: Buffer.from(data) });
    client.command(`FIN ${id}`);
  }
  await untilStats(server, topic, channel, (found) => found.in_flight_count === 0);
  client.close();
  return taken;
}

/** All messages of a data path by queue ("topic" or "topic:channel"), and the problems. */
export function readAll(folder: string): { queues: Map<string, Message[]>; problems: string[] } {
  const queues = new Map<string, Message[]>();
  const problems: string[] = [];
  for (const queue of listQueues(folder)) {
    using reader = openDiskqueue(folder, queue, { onProblem: ({ kind, file }) => problems.push(`${kind} ${file}`) });
    queues.set(queue.prefix, drain(reader));
  }
  return { queues, problems };
}

/** One line for each message, sorted: attempts, size and hash of the body. */
export function lines(list: readonly { attempts: number; body: Buffer }[]): string[] {
  return list.map(({ attempts, body }) => `${attempts} ${body.length} ${Bun.hash(body).toString(16)}`).sort();
}
