import { allTopicsOfProducer, debugCallsSucceed, emptyListStaysList, lengthInsteadOfChunks } from "./support/differences.ts";
import { exchange, header, requestBytes } from "./support/http-wire.ts";
import { type DefineScenario, describeAgainstNsqd } from "./support/pair.ts";
import type { Session } from "./support/session.ts";
import { batch } from "./support/wire.ts";

describeAgainstNsqd(
  "the whole broker",
  {
    // Default limits, and no node id: what a broker answers that was started with nothing.
    args: ["--broadcast-address=broadcast.test"],
    serial: true,
  },
  (scenario) => {
    statistics(scenario);
    information(scenario);
    configuration(scenario);
    debugging(scenario);
  },
);

/** Everything that a text /stats shows and that cannot be equal twice: versions, times, ports, memory. */
function describeText(text: string): string {
  return text
    .replace(/^nsqd v\d+\.\d+\.\d+ \(built w\/[^)]+\)(?:, bunsq .*)?$/m, "nsqd v<version> (<build>)")
    .replace(/^start_time \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/m, "start_time <time>")
    .replace(/^uptime (\d+h)?(\d+m)?\d+(\.\d+)?(m|µ)?s$/m, "uptime <duration>")
    .replace(/^( {3}(?:heap|gc|next)_\S+ *\t)\d+$/gm, "$1<integer>")
    .replace(/(\[V2 \S+:)\d+ /g, "$1<port> ")
    .replace(/connected: \d+s$/gm, "connected: <seconds>");
}

async function noteText(s: Session, query: string): Promise<void> {
  const response = await s.server.http("GET", `/stats${query}`);
  s.note(`${response.status} ${response.headers.get("content-type")}`);
  for (const line of describeText(await response.text()).split("\n")) s.note(`text: ${line}`);
}

function statistics(scenario: DefineScenario): void {
  scenario("/stats of an empty broker", async (s) => {
    s.noteJson("stats", await s.rawStats());
    await noteText(s, "");
    await noteText(s, "?include_mem=false");
  });
  scenario("/stats of a broker with topics, channels, consumers and producers", async (s) => {
    const consumer = await s.consumer("consumer", { rdy: 2, identify: { hostname: "left.test", user_agent: "agent/1.0", sample_rate: 0 } });
    const idle = await s.consumer("idle", {
      channel: "second",
      identify: { hostname: "right.test", user_agent: "agent/2.0", sample_rate: 10 },
    });
    const producer = await s.peer("producer");
    producer.send("IDENTIFY", JSON.stringify({ client_id: "producer", hostname: "third.test", user_agent: "agent/3.0" }));
    await producer.frames(1);
    producer.send(`MPUB ${s.topic}`, batch("one", "two", "three", "four"));
    await producer.frames(1);
    await consumer.frames(2);
    await s.http("POST", `/topic/create?topic=a_first`);
    await s.http("POST", `/topic/pause?topic=a_first`);
    await s.http("POST", `/channel/pause?topic=${s.topic}&channel=second`);
    await s.stats((topic) => topic.depth === 0 && topic.channels[0]?.in_flight_count === 2 && topic.channels[1]?.depth === 4);
    s.noteJson("stats", await s.rawStats());
    s.noteJson("stats of one topic", await s.rawStats(`&topic=${s.topic}`));
    s.noteJson("stats of another topic", await s.rawStats("&topic=a_first"));
    s.noteJson("stats of one channel", await s.rawStats("&channel=second"));
    s.noteJson("stats without clients", await s.rawStats("&include_clients=false"));
    await noteText(s, "");
    await noteText(s, `?topic=${s.topic}&channel=ch&include_mem=false`);
    await noteText(s, "?topic=a_first&include_clients=false&include_mem=false");
    for (const peer of [consumer, idle, producer]) await peer.end();
    await s.http("POST", "/topic/delete?topic=a_first");
  });
  scenario("/stats of a producer counts what it published", async (s) => {
    const producer = await s.peer("producer");
    producer.send(`PUB ${s.topic}`, "m");
    await producer.frames(1);
    producer.send(`DPUB ${s.topic} 10`, "m");
    await producer.frames(1);
    producer.send(`MPUB ${s.topic}`, batch("one", "two", "three"));
    await producer.frames(1);
    s.noteJson("producers", (await s.rawStats(`&topic=${s.topic}`)).producers ?? null);
    s.noteJson("producers of another topic", (await s.rawStats("&topic=none")).producers ?? null);
    await producer.end();
  });
  scenario("/stats of a producer of two topics shows the one that is asked for", async (s) => {
    const producer = await s.peer("producer");
    for (const topic of [`${s.topic}_left`, `${s.topic}_right`, `${s.topic}_right`]) {
      producer.send(`PUB ${topic}`, "m");
      await producer.frames(1);
    }
    for (const topic of [`${s.topic}_left`, `${s.topic}_right`]) {
      s.noteJson(topic, (await s.rawStats(`&topic=${topic}`)).producers ?? null);
      await noteText(s, `?topic=${topic}&include_mem=false`);
    }
    await producer.end();
  });
  scenario(
    "/stats of a producer of several topics shows one of them or all",
    async (s) => {
      const producer = await s.peer("producer");
      for (const name of ["a", "b", "c"]) {
        producer.send(`PUB ${s.topic}_${name}`, "m");
        await producer.frames(1);
      }
      const producers = (await s.rawStats()).producers as { pub_counts: { topic: string }[] }[];
      s.note(`topics shown: ${producers[0]?.pub_counts.length}`);
      await producer.end();
    },
    [allTopicsOfProducer],
  );
  scenario("/stats of a connection that only identified itself shows nothing", async (s) => {
    const peer = await s.peer("a");
    peer.send("IDENTIFY", "{}");
    await peer.frames(1);
    s.noteJson("producers", (await s.rawStats("&topic=none")).producers ?? null);
    await peer.end();
  });
  scenario("/stats of a consumer counts what it finished, requeued and let time out, and shows that it closes", async (s) => {
    const identify = {
      hostname: "left.test",
      user_agent: "agent/1.0",
      msg_timeout: 1000,
      output_buffer_size: 64,
      output_buffer_timeout: 30,
    };
    const consumer = await s.consumer("consumer", { rdy: 2, identify });
    await s.publish("a", "b", "c", "d");
    const [first, second] = await consumer.frames(2);
    consumer.send("RDY 0");
    consumer.send(`FIN ${first?.id}`);
    consumer.send(`REQ ${second?.id} 3600000`);
    await consumer.settle();
    consumer.send("RDY 1");
    await consumer.frames(1);
    consumer.send("CLS");
    await consumer.frames(1);
    await s.stats((topic) => topic.channels[0]?.timeout_count === 1);
    await noteText(s, `?topic=${s.topic}&include_mem=false`);
    await consumer.end();
  });
  scenario("/stats of a consumer that publishes shows it in both lists", async (s) => {
    const peer = await s.consumer("both", { identify: {} });
    peer.send(`PUB ${s.topic}`, "m");
    await peer.frames(1);
    await s.stats((topic) => topic.channels[0]?.depth === 1);
    s.noteJson("producers", (await s.rawStats(`&topic=${s.topic}`)).producers ?? null);
    await peer.end();
  });
  scenario(
    "/stats large enough for nsqd to send it in chunks has the same headers else",
    async (s) => {
      for (let i = 0; i < 20; i++) await s.server.http("POST", `/topic/create?topic=${s.topic}_${i}`);
      const response = await exchange(s.server.httpPort, requestBytes("GET", "/stats?format=json&include_mem=false"));
      s.note(`${response?.statusLine}, body framed by ${response?.framing}`);
      for (const name of ["content-type", "x-nsq-content-type"]) s.note(`${name}: ${response && header(response, name)}`);
      for (let i = 0; i < 20; i++) await s.server.http("POST", `/topic/delete?topic=${s.topic}_${i}`);
    },
    [lengthInsteadOfChunks],
  );
}

function information(scenario: DefineScenario): void {
  scenario("/info tells addresses, ports and limits", async (s) => {
    const info = await s.server.http("GET", "/info");
    s.note(`${info.status} ${info.headers.get("content-type")} ${info.headers.get("x-nsq-content-type")}`);
    s.noteJson("info", (await info.json()) as { [key: string]: string });
  });
  scenario("IDENTIFY answers the default limits", async (s) => {
    const peer = await s.peer("a");
    peer.send("IDENTIFY", '{"feature_negotiation":true}');
    await peer.frames(1);
    await peer.end();
  });
}

function configuration(scenario: DefineScenario): void {
  /** Every option of nsqd that this broker has a flag for. */
  const options = [
    "id",
    "log_level",
    "log_prefix",
    "http_address",
    "tcp_address",
    "broadcast_address",
    "nsqlookupd_tcp_addresses",
    "mem_queue_size",
    "max_bytes_per_file",
    "sync_every",
    "sync_timeout",
    "queue_scan_selection_count",
    "queue_scan_worker_pool_max",
    "msg_timeout",
    "max_msg_timeout",
    "max_msg_size",
    "max_body_size",
    "max_req_timeout",
    "max_heartbeat_interval",
    "http_client_connect_timeout",
    "http_client_request_timeout",
    "max_rdy_count",
    "max_output_buffer_size",
    "max_output_buffer_timeout",
    "min_output_buffer_timeout",
    "output_buffer_timeout",
    "max_channel_consumers",
    "max_deflate_level",
    "tls_cert",
    "tls_key",
    "tls_client_auth_policy",
    "tls_root_ca_file",
    "tls_required",
    "tls_min_version",
    "auth_http_addresses",
    "statsd_address",
    "statsd_interval",
    "statsd_mem_stats",
    "statsd_udp_packet_size",
    "statsd_exclude_ephemeral",
    "e2e_processing_latency_percentiles",
    "e2e_processing_latency_window_time",
    "snappy",
    "deflate",
  ];
  for (const option of options) {
    scenario(`GET /config/${option} answers its default`, async (s) => {
      await s.http("GET", `/config/${option}`);
    });
  }
  scenario("GET /config/data_path answers where the messages are", async (s) => {
    const response = await s.server.http("GET", "/config/data_path");
    s.note(
      `${response.status} ${response.headers.get("content-type")} ${(await response.text()) === s.server.dataPath ? "<data path>" : "another path"}`,
    );
  });
  for (const name of [
    "node_id",
    "node-id",
    "lookupd_tcp_address",
    "Log_Level",
    "log-level",
    "LogLevel",
    "config",
    "version",
    "verbose",
    "logger",
    "ID",
    "queue_scan_interval",
  ]) {
    scenario(`GET /config/${name} is no option`, async (s) => {
      await s.http("GET", `/config/${name}`);
    });
  }
  scenario("GET /config/https_address answers where HTTPS would be", async (s) => {
    // Only nsqd is given one here: it would take the same port in each test.
    const response = await s.server.http("GET", "/config/https_address");
    s.note(`${response.status} ${response.headers.get("content-type")} ${/^[0-9.]+:\d+$/.test(await response.text())}`);
  });
  scenario("the log level can be changed and is told afterwards", async (s) => {
    for (const level of ["debug", "INFO", "Warn", "error", "fatal", "info"]) {
      await s.http("PUT", "/config/log_level", level);
      await s.http("GET", "/config/log_level");
    }
  });
  scenario(
    "the lookup addresses can be changed and are told afterwards",
    async (s) => {
      for (const addresses of ["null", "[]", '["127.0.0.1:9"]', '["127.0.0.1:9","127.0.0.1:10"]', "[]"]) {
        await s.http("PUT", "/config/nsqlookupd_tcp_addresses", addresses);
        await s.http("GET", "/config/nsqlookupd_tcp_addresses");
      }
    },
    [emptyListStaysList],
  );
}

function debugging(scenario: DefineScenario): void {
  for (const [method, path] of [
    ["GET", "/debug/pprof/"],
    ["GET", "/debug/pprof/cmdline"],
    ["GET", "/debug/pprof/symbol"],
    ["POST", "/debug/pprof/symbol"],
    ["GET", "/debug/pprof/profile?seconds=1"],
    ["GET", "/debug/pprof/profile/"],
    ["GET", "/debug/pprof/heap"],
    ["GET", "/debug/pprof/goroutine"],
    ["GET", "/debug/pprof/block"],
    ["GET", "/debug/pprof/threadcreate"],
    ["GET", "/debug/pprof/mutex"],
    ["GET", "/debug/pprof/trace"],
    ["POST", "/debug/pprof/heap"],
    ["GET", "/debug"],
    ["GET", "/debug/freememory"],
    ["PUT", "/debug/setblockrate"],
    ["PUT", "/debug/setblockrate?rate=fast"],
  ] as const) {
    scenario(`${method} ${path} has the same status`, async (s) => {
      const response = await s.server.http(method, path);
      s.note(`status ${response.status}`);
      await response.body?.cancel();
    });
  }
  scenario("GET /debug/pprof is sent to where the overview is", async (s) => {
    await s.http("GET", "/debug/pprof");
    await s.http("GET", "/debug/pprof?debug=1");
  });
  for (const [method, path] of [
    ["PUT", "/debug/setblockrate?rate=0"],
    ["POST", "/debug/freememory"],
  ] as const) {
    scenario(
      `${method} ${path} does what it should`,
      async (s) => {
        const response = await s.server.http(method, path);
        s.note(`status ${response.status}`);
        await response.body?.cancel();
      },
      [debugCallsSucceed],
    );
  }
}
