/**
 * Answers as many brokers would, with statistics that change with every answer: `bun bench/load/fake-brokers.ts BROKERS TOPICS
 * CHANNELS CLIENTS`. It prints the port of each broker's HTTP API and answers until its input ends. CLIENTS are those of all brokers.
 */
const [brokerCount = 0, topicCount = 0, channelCount = 0, clientCount = 0] = process.argv.slice(2).map(Number);

const clientsPerChannel = Math.round(clientCount / (brokerCount * topicCount * channelCount));
const START_S = Math.floor(Date.now() / 1000);
const NO_LATENCY = { count: 0, percentiles: null };

/** Messages that every channel has got. */
function published(): number {
  return (Date.now() - START_S * 1000) >> 1;
}

function statsOf(broker: number, query: URLSearchParams): object {
  const [topic, channel, clients] = [query.get("topic") ?? "", query.get("channel") ?? "", query.get("include_clients") !== "false"];
  const topics = Array.from({ length: topicCount }, (_, i) => i).filter((i) => topic === "" || topic === `topic-${broker}-${i}`);
  return {
    version: "1.3.0",
    health: "OK",
    start_time: START_S,
    topics: topics.map((i) => topicOf(broker, i, channel, clients)),
    producers: clients ? [] : null,
    bunsq_version: "0.1.0",
  };
}

function topicOf(broker: number, index: number, channel: string, clients: boolean): object {
  const channels = Array.from({ length: channelCount }, (_, i) => i).filter((i) => channel === "" || channel === `channel-${i}`);
  return {
    topic_name: `topic-${broker}-${index}`,
    channels: channels.map((i) => channelOf(broker, index, i, clients)),
    depth: 0,
    backend_depth: 0,
    message_count: published() + index,
    message_bytes: 100 * published(),
    paused: false,
    e2e_processing_latency: NO_LATENCY,
    oldest_age_ms: 1_000 * Math.random(),
  };
}

function channelOf(broker: number, topic: number, index: number, clients: boolean): object {
  return {
    channel_name: `channel-${index}`,
    depth: Math.floor(1_000 * Math.random()),
    backend_depth: 0,
    in_flight_count: Math.floor(100 * Math.random()),
    deferred_count: 0,
    message_count: published() + topic,
    requeue_count: 0,
    timeout_count: 0,
    client_count: clientsPerChannel,
    clients: clients ? Array.from({ length: clientsPerChannel }, (_, i) => clientOf(broker, topic, index, i)) : null,
    paused: false,
    e2e_processing_latency: NO_LATENCY,
    oldest_age_ms: 1_000 * Math.random(),
  };
}

function clientOf(broker: number, topic: number, channel: number, index: number): object {
  const port = 10_000 + (topic * channelCount + channel) * clientsPerChannel + index;
  return {
    client_id: `client-${topic}-${channel}-${index}`,
    hostname: `worker-${index}.example.com`,
    version: "V2",
    remote_address: `10.0.${broker}.${topic % 250}:${port}`,
    state: 3,
    ready_count: 10,
    in_flight_count: Math.floor(10 * Math.random()),
    message_count: published(),
    finish_count: published(),
    requeue_count: 0,
    connect_ts: START_S,
    sample_rate: 0,
    deflate: false,
    snappy: false,
    user_agent: "go-nsq/1.1.0",
    tls: false,
    tls_cipher_suite: "",
    tls_version: "",
    tls_negotiated_protocol: "",
    tls_negotiated_protocol_is_mutual: false,
  };
}

const servers = Array.from({ length: brokerCount }, (_, broker) =>
  Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      if (pathname === "/stats") return Response.json(statsOf(broker, searchParams));
      return Response.json({
        version: "1.3.0",
        hostname: `broker-${broker}`,
        broadcast_address: "127.0.0.1",
        tcp_port: 4150,
        http_port: 4151,
      });
    },
  }),
);
process.stdout.write(`${servers.map(({ port }) => port).join(" ")}\n`);
for await (const _ of Bun.stdin.stream()) {
  // Nothing is expected.
}
process.exit();
