import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { METRIC_TABLES, METRICS_DOC_PATH, metricsDoc } from "../../scripts/metrics-doc.ts";
import { sampleName } from "../../src/http/metrics/family.ts";
import { addressOf, startConsole } from "../admin/nsqadmin/support/consoles.ts";
import { startLookupServer } from "../support/lookup.ts";
import { describeUnless, missing, testUnless } from "../support/needs.ts";
import { type Running, type Server, startServer, until } from "../support/server.ts";

const CONTRIB = join(import.meta.dir, "../../contrib");
const RULES = join(CONTRIB, "prometheus/bunsq-alerts.yml");
const DASHBOARD = join(CONTRIB, "grafana/bunsq.json");

/** Runs promtool. @returns its exit code and what it said */
async function promtool(args: string[], input = ""): Promise<{ code: number; output: string }> {
  const child = Bun.spawn(["promtool", ...args], {
    cwd: join(CONTRIB, "prometheus"),
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output: out + err };
}

test("docs/metrics.md equals the tables of metrics (npm run docs regenerates it)", () => {
  expect(readFileSync(METRICS_DOC_PATH, "utf8")).toBe(metricsDoc());
});

test("dashboard, alerts and their tests name only metrics that there are", () => {
  const known = new Set(["nsq", "process", "bunsq"]);
  for (const { families } of METRIC_TABLES) {
    for (const family of families) {
      const name = sampleName(family);
      for (const suffix of family.kind === "histogram" ? ["_bucket", "_sum", "_count"] : [""]) known.add(name + suffix);
    }
  }
  for (const path of [RULES, DASHBOARD, join(CONTRIB, "prometheus/bunsq-alerts-test.yml")]) {
    const names = readFileSync(path, "utf8").matchAll(/\b(?:nsq|process)_\w+/g);
    expect([...new Set([...names].map(([name]) => name))].filter((name) => !known.has(name))).toEqual([]);
  }
});

describe("contrib/grafana/bunsq.json", () => {
  const dashboard = JSON.parse(readFileSync(DASHBOARD, "utf8")) as {
    uid: string;
    panels: {
      id: number;
      type: string;
      title: string;
      gridPos: { x: number; y: number; w: number; h: number };
      targets?: { expr: string }[];
    }[];
  };

  test("has panels with ids of their own, in the width of the grid, each but rows with a query", () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    for (const { type, title, gridPos, targets = [] } of dashboard.panels) {
      expect([title, gridPos.x + gridPos.w <= 24, type === "row" || targets.length > 0]).toEqual([title, true, true]);
    }
  });

  test("has no panels over each other", () => {
    const taken = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect([title, x, y, taken.get(`${x},${y}`)]).toEqual([title, x, y, undefined]);
          taken.set(`${x},${y}`, title);
        }
      }
    }
  });

  test("shows of channels that choose what they deliver all that there is", () => {
    const queries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)).join("\n");
    for (const name of ["blocked_messages", "filtered_messages_total", "dead_letter_messages_total", "most_attempts"]) {
      expect(queries).toContain(`nsq_channel_${name}{`);
    }
  });

  testUnless(missing("promtool"))("has only queries that Prometheus understands", async () => {
    const queries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const rules = queries.map((expr, i) => ({ record: `query:${i}`, expr: expr.replaceAll("$__rate_interval", "1m") }));
    const folder = mkdtempSync(join(tmpdir(), "bunsq-dashboard-"));
    try {
      writeFileSync(join(folder, "rules.yml"), JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
      expect(await promtool(["check", "rules", join(folder, "rules.yml")])).toEqual({
        code: 0,
        output: expect.stringContaining("SUCCESS"),
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describeUnless(missing("promtool"))("contrib/prometheus", () => {
  test("has rules and a configuration that promtool accepts", async () => {
    expect(await promtool(["check", "rules", "--lint=all", "--lint-fatal", "bunsq-alerts.yml"])).toMatchObject({ code: 0 });
    expect(await promtool(["check", "config", "prometheus.yml"])).toMatchObject({ code: 0 });
  });

  test("has tests of every rule, which pass", async () => {
    const { code, output } = await promtool(["test", "rules", "bunsq-alerts-test.yml"]);
    expect([code, output]).toEqual([0, expect.stringContaining("SUCCESS")]);
    const tested = readFileSync(join(CONTRIB, "prometheus/bunsq-alerts-test.yml"), "utf8");
    const alerts = [...readFileSync(RULES, "utf8").matchAll(/- alert: (\w+)/g)].map(([, name = ""]) => name);
    expect(alerts.filter((name) => !tested.includes(`alertname: ${name}\n        exp_alerts:`))).toEqual([]);
  });
});

describe("the answers of servers", () => {
  let broker: Server;
  let lookup: Running;
  let console: Running;

  beforeAll(async () => {
    lookup = await startLookupServer();
    broker = await startServer({ args: [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"] });
    console = await startConsole("bunsq", [`--nsqd-http-address=${addressOf(broker)}`]);
    for (const path of ["/topic/create?topic=orders", "/channel/create?topic=orders&channel=mail"]) await broker.http("POST", path);
    await broker.http("POST", "/pub?topic=orders", "hello");
    await until("the broker is registered", async () => (await scrape(broker)).includes("nsq_lookups_registered 1\n"));
  });
  afterAll(async () => {
    await console.stop();
    await broker.stop();
    await lookup.stop();
  });

  async function scrape(server: Running, query = ""): Promise<string> {
    return (await server.http("GET", `/metrics${query}`)).text();
  }

  test("have all metrics that docs/metrics.md lists, with their types, and no others", async () => {
    const described = (text: string) => [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => `${name} ${kind}`).sort();
    const tables = (pattern: RegExp) =>
      METRIC_TABLES.filter(({ title }) => pattern.test(title))
        .flatMap(({ families }) => families.map((family) => `${sampleName(family)} ${family.kind === "info" ? "gauge" : family.kind}`))
        .sort();
    expect(described(await scrape(broker, "?detail=client"))).toEqual(tables(/^(?:Every server|The broker|Topics|Channels|Consumers.*)$/));
    expect(described(await scrape(lookup, "?detail=topic"))).toEqual(tables(/^Every server$|lookup server/));
    expect(described(await scrape(console))).toEqual(tables(/^Every server$/));
  });

  test("of a lookup server count brokers, topics and connections", async () => {
    const text = await scrape(lookup, "?detail=topic");
    for (const line of [
      ...["nsq_lookup_topics 1", "nsq_lookup_channels 1", "nsq_lookup_brokers 1", "nsq_lookup_active_brokers 1"],
      ...["nsq_lookup_topics_without_brokers 0", 'nsq_lookup_connections{protocol="nsq"} 1', 'nsq_lookup_topic_brokers{topic="orders"} 1'],
    ]) {
      expect(text).toContain(`\n${line}\n`);
    }
    expect(await (await lookup.http("GET", "/metrics?detail=channel")).text()).toBe('{"message":"INVALID_ARG_DETAIL"}');
  });

  testUnless(missing("promtool"))("pass promtool check metrics, whatever is asked for", async () => {
    for (const [server, query] of [
      [broker, ""],
      [broker, "?detail=topic"],
      [broker, "?detail=client&topic=orders"],
      [lookup, ""],
      [lookup, "?detail=topic"],
      [console, ""],
    ] as const) {
      expect(await promtool(["check", "metrics"], await scrape(server, query))).toEqual({ code: 0, output: "" });
    }
  });

  testUnless(missing("prometheus"))(
    "are scraped by Prometheus, and an alert of contrib/ fires when a server is down and when nobody consumes",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "bunsq-prometheus-"));
      mkdirSync(join(folder, "data"));
      // As in contrib/, but for how long a condition has to last.
      writeFileSync(join(folder, "bunsq-alerts.yml"), readFileSync(RULES, "utf8").replaceAll(/for: \w+/g, "for: 1s"));
      const configuration = readFileSync(join(CONTRIB, "prometheus/prometheus.yml"), "utf8")
        .replaceAll("15s", "1s")
        .replace("127.0.0.1:4151", addressOf(broker))
        .replace("127.0.0.1:4161", addressOf(lookup))
        .replace("127.0.0.1:4171", addressOf(console));
      writeFileSync(join(folder, "prometheus.yml"), configuration);
      const port = freePort();
      const prometheus = Bun.spawn(
        [
          ...["prometheus", `--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`],
          `--web.listen-address=127.0.0.1:${port}`,
        ],
        { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
      );
      let log = "";
      void (async () => {
        const decoder = new TextDecoder();
        for await (const chunk of prometheus.stderr) log += decoder.decode(chunk, { stream: true });
      })();
      const ask = async (path: string): Promise<unknown> => {
        try {
          return await (await fetch(`http://127.0.0.1:${port}${path}`)).json();
        } catch (error) {
          if (prometheus.exitCode !== null) throw new Error(`Prometheus has ended: ${log}`, { cause: error });
          return {};
        }
      };
      const firing = async (): Promise<string[]> => {
        const answer = (await ask("/api/v1/alerts")) as { data?: { alerts: { state: string; labels: { alertname: string } }[] } };
        return (answer.data?.alerts ?? []).filter(({ state }) => state === "firing").map(({ labels }) => labels.alertname);
      };
      const targets = async (): Promise<string[]> => {
        const answer = (await ask("/api/v1/targets")) as { data?: { activeTargets: { health: string; lastError: string }[] } };
        return (answer.data?.activeTargets ?? []).map(({ health, lastError }) => health + lastError).sort();
      };
      try {
        await until("all are scraped", async () => String(await targets()) === "up,up,up", 30_000);
        const found = (await ask("/api/v1/query?query=nsq_channel_depth_messages")) as {
          data: { result: { metric: object; value: [number, string] }[] };
        };
        expect(found.data.result[0]).toMatchObject({ metric: { topic: "orders", channel: "mail" }, value: [expect.any(Number), "1"] });
        await until("nobody consumes", async () => (await firing()).includes("BunsqNoConsumers"), 30_000);
        expect(await firing()).not.toContain("BunsqDown");
        await lookup.stop();
        await until("the lookup server is down", async () => (await firing()).includes("BunsqDown"), 30_000);
      } finally {
        prometheus.kill();
        await prometheus.exited;
        rmSync(folder, { recursive: true, force: true });
      }
    },
    120_000,
  );
});

/** A port that was free a moment ago. */
function freePort(): number {
  using listener = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  return listener.port ?? 0;
}
