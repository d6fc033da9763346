import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describeUnless, missing } from "../../support/needs.ts";
import { until } from "../../support/server.ts";
import { addressOf, ask, Cluster, post, type Request, startConsole, type Twins } from "./support/consoles.ts";
import { DIFFERENCES } from "./support/differences.ts";

const COMPATIBILITY = join(import.meta.dir, "../../../docs/compatibility.md");
const NODE = ["first", "second"] as const;

/** A JSON object of a console. */
type Json = Record<string, unknown>;

test("docs/compatibility.md has each difference from nsqadmin with its reason", () => {
  const rows = readFileSync(COMPATIBILITY, "utf8").split("\n");
  for (const { name, why } of DIFFERENCES) expect(rows.filter((row) => row === `| ${name} | ${why} |`)).toHaveLength(1);
});

describeUnless(missing("nsqd", "nsqlookupd", "nsqadmin"))("beside Go's nsqadmin, over the same brokers and lookup servers,", () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.start();
    await cluster.fill();
  }, 60_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  /** Puts the brokers' addresses in the place of their names. */
  const addressed = (text: string) => NODE.reduce((path, name, at) => path.replace(`{${name}}`, addressOf(cluster.brokers[at]!)), text);

  const both = async (twins: Twins, request: Request) => {
    const asked = { ...request, path: addressed(request.path) };
    return { nsqadmin: await ask(twins.nsqadmin, asked), bunsq: await ask(twins.bunsq, asked) };
  };

  const READS: Request[] = [
    "/ping",
    "/api/topics",
    "/api/topics?inactive=true",
    "/api/topics?inactive=false",
    "/api/topics/12",
    "/api/topics/orders/mail",
    "/api/topics/orders/only",
    "/api/topics/orders/tail%23ephemeral",
    "/api/nodes",
    "/api/nodes/{first}",
    "/api/nodes/{second}",
    "/api/nodes/127.0.0.1:1",
    "/api/counter",
    "/api/graphite",
    "/api/graphite?metric=rate",
    "/api/graphite?metric=depth&target=x",
    "/api/graphite?metric=rate&target=x",
    ...[
      "log_level",
      "log_prefix",
      "base_path",
      "dev_static_dir",
      "graphite_url",
      "proxy_graphite",
      "statsd_prefix",
      "statsd_counter_format",
    ],
    ...["statsd_gauge_format", "statsd_interval", "nsqlookupd_http_addresses", "nsqd_http_addresses", "http_client_connect_timeout"],
    ...["http_client_request_timeout", "http_client_tls_insecure_skip_verify", "http_client_tls_root_ca_file", "http_client_tls_cert"],
    ...[
      "http_client_tls_key",
      "allow_config_from_cidr",
      "notification_http_endpoint",
      "acl_http_header",
      "admin_users",
      "config",
      "nothing",
    ],
    "/api",
    "/api/nothing",
    "/api/topics/",
    "/API/Topics",
    "/api/Nodes/",
    "/api/topics//",
    "/api/topics/a/b/c",
    "/config/",
    "/ping/",
    "/PING",
    "//ping",
    "/render",
  ].map((path) => ({ path: path.startsWith("/") ? path : `/config/${path}` }));

  const WRONG: Request[] = [
    { method: "POST", path: "/ping" },
    { method: "PUT", path: "/api/topics" },
    { method: "DELETE", path: "/api/topics" },
    { method: "POST", path: "/api/nodes/{first}" },
    { method: "DELETE", path: "/api/topics/orders/" },
    { method: "OPTIONS", path: "/api/topics/orders" },
    { method: "POST", path: "/api/topics", body: '{"topic":""}' },
    { method: "POST", path: "/api/topics", body: '{"topic":"a b"}' },
    { method: "POST", path: "/api/topics", body: '{"TOPIC":"ok","channel":"a b"}' },
    { method: "POST", path: "/api/topics", body: "" },
    { method: "POST", path: "/api/topics", body: "null" },
    { method: "POST", path: "/api/topics/orders", body: '{"action":"destroy"}' },
    { method: "POST", path: "/api/topics/orders", body: "{}" },
    { method: "POST", path: "/api/topics/orders/mail", body: '{"action":"Pause"}' },
    { method: "DELETE", path: "/api/nodes/{first}", body: "" },
    { method: "DELETE", path: "/api/nodes/{first}", body: '{"topic":1}' },
    { method: "DELETE", path: "/api/nodes/{first}", body: '{"topic":"a b"}' },
    { method: "PUT", path: "/config/log_level", body: "loud" },
    { method: "PUT", path: "/config/log_level", body: "" },
    { method: "PUT", path: "/config/base_path", body: "/x" },
    { method: "PUT", path: "/config/nothing", body: "x" },
    { method: "PUT", path: "/config/nsqlookupd_http_addresses", body: '"x"' },
    { method: "PUT", path: "/config/nsqlookupd_http_addresses", body: "[1]" },
  ];

  for (const over of ["lookups", "brokers"] as const) {
    const twins = () => (over === "lookups" ? cluster.overLookups : cluster.overBrokers);

    for (const request of [...READS, ...WRONG]) {
      const { method = "GET", path, body } = request;
      test(`over ${over}: ${method} ${path}${body === undefined ? "" : ` ${body}`}`, async () => {
        const answers = await both(twins(), request);
        expect(answers.bunsq).toEqual({ ...answers.nsqadmin, body: withRightMinimum(answers.nsqadmin.body) });
      });
    }

    test(`over ${over}: a topic of several brokers is right where nsqadmin's single answers are`, async () => {
      const { nsqadmin, bunsq } = await both(twins(), { path: "/api/topics/orders" });
      const expected = JSON.parse(nsqadmin.body) as { nodes: Json[]; channels: Json[] };
      const single = async (path: string) => JSON.parse((await ask(twins().nsqadmin, { path })).body) as Json;
      const brokers = await Promise.all(cluster.brokers.map((broker) => single(`/api/nodes/${addressOf(broker)}`)));
      expected.nodes = brokers
        .map(({ topics }) => (topics as Json[]).find(({ topic_name }) => topic_name === "orders")!)
        .map(withoutClients);
      for (const [at, { channel_name: name }] of expected.channels.entries()) {
        const having = expected.nodes.filter(({ channels }) => (channels as Json[]).some(({ channel_name }) => channel_name === name));
        if (having.length === 1) continue;
        const { message: _, ...channel } = await single(`/api/topics/orders/${encodeURIComponent(name as string)}`);
        expected.channels[at] = withoutClients(channel);
      }
      const comparable = (text: string) => {
        const { nodes, channels, ...rest } = JSON.parse(text) as { nodes: Json[]; channels: Json[] };
        const byName = (a: Json, b: Json) => (`${a.node} ${a.channel_name}` < `${b.node} ${b.channel_name}` ? -1 : 1);
        return { ...rest, nodes: nodes.sort(byName), channels: channels.sort(byName) };
      };
      expect(comparable(bunsq.body)).toEqual(comparable(withRightMinimum(JSON.stringify(expected))));
      // The members are in the same order.
      expect(namesIn(JSON.parse(bunsq.body))).toEqual(namesIn(JSON.parse(nsqadmin.body)));
    });
  }

  for (const { name, seen } of DIFFERENCES) {
    if (seen === undefined) continue;
    test(`differs as listed: ${name}`, async () => {
      const twins = seen.over === "brokers" ? cluster.overBrokers : cluster.overLookups;
      const answers = await both(twins, seen.request);
      for (const program of ["nsqadmin", "bunsq"] as const) {
        const { status, body } = answers[program];
        const { message } = JSON.parse(body) as { message: string };
        expect([program, status, message.slice(0, seen[program].message.length)]).toEqual([
          program,
          seen[program].status,
          seen[program].message,
        ]);
      }
    });
  }

  /** Each is done by one console and then, from the same state, by the other. */
  const WRITES: { request: Request; before?: () => Promise<void>; over?: "brokers" }[] = [
    ...["", "/mail"].flatMap((channel) =>
      ["pause", "unpause", "empty"].map((action) => ({
        request: { method: "POST", path: `/api/topics/extra${channel}`, body: JSON.stringify({ action }) },
      })),
    ),
    { request: { method: "DELETE", path: "/api/topics/extra/mail" } },
    { request: { method: "DELETE", path: "/api/topics/extra" } },
    { request: { method: "POST", path: "/api/topics", body: '{"topic":"fresh"}' } },
    { request: { method: "POST", path: "/api/topics", body: '{"topic":"fresh","channel":"new"}' } },
    { request: { method: "POST", path: "/api/topics", body: '{"topic":"extra","channel":"new"}' } },
    { request: { method: "DELETE", path: "/api/nodes/{first}", body: '{"topic":"extra"}' } },
    { request: { method: "DELETE", path: "/api/nodes/{second}", body: '{"topic":"extra"}' } },
  ];

  /** The state once it does not change any more: brokers tell lookup servers of what they have deleted or created. */
  const settledState = async () => {
    let state = await cluster.state();
    for (let same = 0; same < 20; ) {
      await Bun.sleep(10);
      const next = await cluster.state();
      same = Bun.deepEquals(next, state) ? same + 1 : 0;
      state = next;
    }
    return state;
  };

  const reset = async () => {
    const topics = ["extra", "fresh"];
    for (const broker of cluster.brokers) for (const topic of topics) await broker.http("POST", `/topic/delete?topic=${topic}`);
    await settledState();
    for (const lookup of cluster.lookups) for (const topic of topics) await post(lookup, `/topic/delete?topic=${topic}`);
    for (const broker of cluster.brokers) {
      await post(broker, "/topic/create?topic=extra");
      await post(broker, "/channel/create?topic=extra&channel=mail");
      await post(broker, "/pub?topic=extra", "message");
    }
    // A message is in its topic at first, and a topic may get channels that a lookup server remembers.
    const each = (at: number) => [`broker ${at} extra  0`, `broker ${at} extra mail  1`, `lookup ${at} extra: mail`];
    const isReady = async () => {
      const lines = (await cluster.state()).filter((line) => / (extra|fresh)\b/.test(line));
      return Bun.deepEquals(lines, [...each(0), ...each(1)].sort());
    };
    await until("extra is as it should be", isReady);
  };

  for (const { request } of WRITES) {
    test(`${request.method} ${request.path} ${request.body ?? ""} leads to the same answer and the same state`, async () => {
      const done = async (program: "nsqadmin" | "bunsq") => {
        await reset();
        const answer = await ask(cluster.overLookups[program], { ...request, path: addressed(request.path) });
        return { answer, state: await settledState() };
      };
      const expected = await done("nsqadmin");
      expect(await done("bunsq")).toEqual(expected);
      expect(expected.answer.body).toBe('{"message":""}');
    }, 30_000);
  }

  test("creates at the brokers if there are no lookup servers, where nsqadmin says 200 and creates nothing", async () => {
    await reset();
    const request = { method: "POST", path: "/api/topics", body: '{"topic":"fresh","channel":"new"}' };
    const ofTopic = { ...request, body: '{"topic":"fresh"}' };
    expect(await ask(cluster.overBrokers.nsqadmin, ofTopic)).toMatchObject({ status: 200, body: '{"message":""}' });
    expect(await ask(cluster.overBrokers.nsqadmin, request)).toMatchObject({ status: 502 });
    expect((await cluster.state()).filter((line) => /^broker \d fresh/.test(line))).toEqual([]);
    expect(await ask(cluster.overBrokers.bunsq, request)).toMatchObject({ status: 200, body: '{"message":""}' });
    expect((await cluster.state()).filter((line) => /^broker \d fresh/.test(line))).toEqual([
      "broker 0 fresh  0",
      "broker 0 fresh new  0",
      "broker 1 fresh  0",
      "broker 1 fresh new  0",
    ]);
  }, 30_000);

  test("takes options at run time", async () => {
    const twins = await cluster.twins([`--lookupd-http-address=${addressOf(cluster.lookups[0]!)}`]);
    for (const [option, value] of [
      ["nsqlookupd_http_addresses", JSON.stringify([addressOf(cluster.lookups[1]!)])],
      ["log_level", "ERROR"],
    ]) {
      const { nsqadmin, bunsq } = await both(twins, { method: "PUT", path: `/config/${option}`, body: value! });
      expect(bunsq).toEqual(nsqadmin);
      expect(bunsq.status).toBe(200);
    }
    const { nsqadmin, bunsq } = await both(twins, { path: "/api/nodes" });
    expect(bunsq).toEqual(nsqadmin);
  }, 30_000);

  test("keeps others from changing something, and /config from other networks", async () => {
    const lookup = `--lookupd-http-address=${addressOf(cluster.lookups[0]!)}`;
    const twins = await cluster.twins([lookup, "--admin-user=ann", "--allow-config-from-cidr=10.0.0.0/8", "--base-path=sub/path/"]);
    const headers: Record<string, string>[] = [{}, { "X-Forwarded-User": "bob" }, { "X-Forwarded-User": "ann" }];
    for (const user of headers) {
      for (const [method, path, body] of [
        ["POST", "/api/topics", '{"topic":"a b"}'],
        ["POST", "/api/topics/orders", '{"action":"x"}'],
        ["POST", "/api/topics/orders/mail", '{"action":"x"}'],
        ["DELETE", "/api/nodes/n", '{"topic":"a b"}'],
      ]) {
        const { nsqadmin, bunsq } = await both(twins, { method: method!, path: `/sub/path${path}`, body: body!, headers: user });
        expect(bunsq).toEqual(nsqadmin);
        expect(bunsq.status).toBe(user["X-Forwarded-User"] === "ann" ? 400 : 403);
      }
    }
    for (const path of ["/sub/path/config/log_level", "/sub/path/api/topics", "/sub/path/ping", "/api/topics", "/ping"]) {
      const { nsqadmin, bunsq } = await both(twins, { path });
      expect(bunsq).toEqual(nsqadmin);
    }
    for (const path of ["/api/topics/orders", "/api/topics/orders/mail"]) {
      expect((await both(twins, { method: "DELETE", path: `/sub/path${path}` })).bunsq).toMatchObject({ status: 403 });
    }
  }, 30_000);

  test("sends the same notifications, but none of what was not done", async () => {
    await reset();
    const sent: Record<string, Json[]> = { nsqadmin: [], bunsq: [] };
    using endpoint = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        sent[new URL(request.url).pathname.slice(1)]?.push({
          ...((await request.json()) as Json),
          type: request.headers.get("content-type"),
        });
        return new Response();
      },
    });
    const lookups = cluster.lookups.map((lookup) => `--lookupd-http-address=${addressOf(lookup)}`);
    for (const program of ["nsqadmin", "bunsq"] as const) {
      const console = await startConsole(program, [
        ...lookups,
        `--notification-http-endpoint=http://127.0.0.1:${endpoint.port}/${program}`,
      ]);
      try {
        const headers = { Authorization: `Basic ${btoa("ann:secret")}`, "User-Agent": "test/1" };
        const first = addressOf(cluster.brokers[0]!);
        const steps: [method: string, path: string, body?: string][] = [
          ["POST", "/api/topics", '{"topic":"fresh","channel":"new"}'],
          ["POST", "/api/topics/extra?x=%20", '{"action":"pause"}'],
          ["POST", "/api/topics/extra/mail", '{"action":"empty"}'],
          ["POST", "/api/topics/extra", '{"action":"unpause"}'],
          ["DELETE", "/api/topics/extra/mail"],
          ["DELETE", `/api/nodes/${first}`, '{"topic":"extra"}'],
          ["DELETE", "/api/topics/extra"],
        ];
        let expected = 1;
        for (const [method, path, body] of steps) {
          await ask(console, { method, path, headers, ...(body === undefined ? {} : { body }) });
          expected++;
          await until("it is sent", () => (sent[program]?.length ?? 0) >= expected);
        }
        await ask(console, { method: "POST", path: "/api/topics/nope", body: '{"action":"pause"}' });
        await ask(console, { method: "POST", path: "/api/topics", body: '{"topic":"fresh"}', headers: { "X-Forwarded-User": "bob" } });
        await until("the last one is sent", () => sent[program]?.at(-1)?.topic === "fresh");
        expect(console.log()).toContain("POSTing notification to");
      } finally {
        await console.stop();
        await reset();
      }
    }
    const comparable = (actions: Json[]) =>
      actions.map((action) => {
        expect(Math.abs((action.timestamp as number) - Date.now() / 1000)).toBeLessThan(60);
        expect(action.remote_ip).toMatch(/^127\.0\.0\.1:\d+$/);
        return Object.entries({ ...action, timestamp: 0, remote_ip: "", url: (action.url as string).replace(/:\d+/, "") });
      });
    const [theirs, ours] = [comparable(sent.nsqadmin!), comparable(sent.bunsq!)];
    const isNope = (action: [string, unknown][]) => action.some(([name, value]) => name === "topic" && value === "nope");
    expect([theirs.filter(isNope).length, ours.filter(isNope).length]).toEqual([1, 0]);
    // Go sends two that belong together in either order.
    const inOrder = (actions: [string, unknown][][]) =>
      actions.slice(0, 8).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
    expect(inOrder(ours)).toEqual(inOrder(theirs));
    expect(Object.fromEntries(ours.at(-1)!)).toMatchObject({ action: "create_topic", user: "bob" });
    expect(Object.fromEntries(theirs.at(-1)!)).not.toHaveProperty("user");
  }, 60_000);

  test("goes on with a warning when a server is down, and refuses when all are", async () => {
    const up = `--lookupd-http-address=${addressOf(cluster.lookups[0]!)}`;
    for (const [args, status, beginning] of [
      [[up, "--lookupd-http-address=127.0.0.1:1"], 200, "WARNING: Get "],
      [["--lookupd-http-address=127.0.0.1:1"], 502, "UPSTREAM_ERROR: failed to query any nsqlookupd: Get "],
      [[`--nsqd-http-address=${addressOf(cluster.brokers[0]!)}`, "--nsqd-http-address=127.0.0.1:1"], 200, "WARNING: Get "],
      [["--nsqd-http-address=127.0.0.1:1"], 502, "UPSTREAM_ERROR: failed to query any nsqd: Get "],
    ] as const) {
      const twins = await cluster.twins([...args]);
      for (const path of ["/api/topics", "/api/nodes", "/api/topics/orders/only", "/api/nodes/{first}", "/api/counter"]) {
        const { nsqadmin, bunsq } = await both(twins, { path });
        // bunsq asks for topics without their clients.
        const asked = nsqadmin.body.replace('/stats?format=json\\"', '/stats?format=json&include_clients=false\\"');
        expect(bunsq).toEqual({ ...nsqadmin, body: path === "/api/topics" ? asked : nsqadmin.body });
        expect([bunsq.status, (JSON.parse(bunsq.body) as { message: string }).message.slice(0, beginning.length)]).toEqual([
          status,
          beginning,
        ]);
      }
    }
  }, 30_000);
});

/** nsqadmin's answer with the right minimum in the percentiles of several brokers. */
function withRightMinimum(body: string): string {
  const mend = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(mend);
    if (value === null || typeof value !== "object") return value;
    const members = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mend(item)])) as Json;
    const parts = Array.isArray(members.nodes) ? members.nodes.map((node: Json) => latencies(node)) : [];
    for (const percentile of parts.length === 0 ? [] : latencies(members)) {
      const values = parts.flat().filter(({ quantile }) => quantile === percentile.quantile);
      percentile.min = Math.min(...values.map(({ min }) => min as number));
    }
    return members;
  };
  const latencies = (of: Json) => ((of.e2e_processing_latency as Json | undefined)?.percentiles ?? []) as Json[];
  return body.startsWith("{") ? JSON.stringify(mend(JSON.parse(body))) : body;
}

function withoutClients(of: Json): Json {
  return Object.fromEntries(
    Object.entries(of).map(([key, item]) => {
      if (key === "clients") return [key, null];
      return [key, Array.isArray(item) && key !== "percentiles" ? item.map((each) => withoutClients(each as Json)) : item];
    }),
  );
}

/** The names of the members, in their order, of an object and of the first object in each list. */
function namesIn(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(namesIn);
  if (value === null || typeof value !== "object") return null;
  return Object.entries(value).map(([key, item]) => [key, key === "nodes" || key === "percentiles" ? null : namesIn(item)]);
}
