import { expect, test } from "bun:test";
import { until } from "../../support/server.ts";
import { WithAdmin } from "../support/with-admin.ts";

const STATUS = { cluster: "main", brokers: [{ uid: "a".repeat(16), http: "a:1", state: "alive" }] };

/** A lookup server of a cluster with the topic `t`, which does what it is asked to. */
class Lookup implements Disposable {
  /** Changes that it was asked for. */
  readonly changes: string[] = [];
  /** Set, it refuses them. */
  refusal: { status: number; message: string } | undefined;
  private readonly server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: (request) => this.answer(request) });

  get address(): string {
    return `127.0.0.1:${this.server.port}`;
  }

  private answer({ method, url }: Request): Response {
    const { pathname, search, searchParams } = new URL(url);
    if (method === "POST") {
      if (this.refusal !== undefined) return Response.json({ message: this.refusal.message }, { status: this.refusal.status });
      this.changes.push(pathname + search);
      return new Response();
    }
    switch (pathname) {
      case "/info":
        return Response.json({ version: "1.3.0", bunsq_version: "1" });
      case "/nodes":
        return Response.json({ producers: [] });
      case "/lookup":
        return Response.json({ channels: [], producers: [] });
      case "/cluster/status":
        return Response.json(STATUS);
      case "/cluster/topics":
        return searchParams.get("topic") === "t"
          ? Response.json({ topics: [{ topic: "t" }] })
          : Response.json({ message: "NO_SUCH_TOPIC: none" }, { status: 404 });
      default:
        return Response.json({ topics: [] });
    }
  }

  [Symbol.dispose](): void {
    void this.server.stop(true);
  }
}

async function started(lookup: Lookup): Promise<WithAdmin> {
  const site = WithAdmin.start({ lookupdHttpAddresses: [lookup.address], nsqdHttpAddresses: [], pollIntervalMs: 50 }, [], 0);
  await until("the cluster is known", async () => (await site.get("/session")).cluster === true);
  return site;
}

test("changes of a cluster are asked of its lookup server, and are noted", async () => {
  using lookup = new Lookup();
  await using site = await started(lookup);
  for (const request of [
    { action: "move", topic: "t", value: { partition: 3, from: "a", to: "b:4151" } },
    { action: "lead", topic: "t", value: { partition: 0, to: "b" } },
    { action: "replicas", topic: "t", value: { replicas: 5 } },
    { action: "expand", topic: "t", value: { partitions: 8 }, confirm: "t" },
    { action: "remove_node", broker: "b:4151", confirm: "b:4151" },
    { action: "keep_node", broker: "b:4151" },
    { action: "balance" },
  ]) {
    const result = await site.post("/actions", request);
    expect(result).toEqual({ ok: true, results: [{ server: lookup.address, ok: true, message: "" }] });
  }
  expect(lookup.changes).toEqual([
    "/cluster/move?topic=t&partition=3&from=a&to=b%3A4151",
    "/cluster/lead?topic=t&partition=0&to=b",
    "/cluster/replicas?topic=t&replicas=5",
    "/cluster/expand?topic=t&partitions=8",
    "/cluster/remove-node?node=b%3A4151",
    "/cluster/remove-node?node=b%3A4151&cancel=true",
    "/cluster/balance",
  ]);
  const { activity } = await site.get("/activity");
  expect(activity.map(({ action, topic }: { action: string; topic: string }) => `${action} ${topic}`.trim())).toEqual([
    ...["balance_cluster", "keep_node", "remove_node", "expand_topic t", "replicas_topic t", "lead_topic t", "move_topic t"],
  ]);
});

test("what a lookup server refuses is told in its words", async () => {
  using lookup = new Lookup();
  await using site = await started(lookup);
  lookup.refusal = { status: 409, message: "CHANGING: something else is under way there: try again later" };
  const { ok, results } = await site.post("/actions", { action: "lead", topic: "t", value: { partition: 0, to: "b" } });
  expect([ok, results[0].message]).toEqual([false, "CHANGING: something else is under way there: try again later"]);
});

test("a topic that is none of the cluster's is expanded at its brokers", async () => {
  using lookup = new Lookup();
  await using site = await started(lookup);
  const expand = site.send("/actions", { action: "expand", topic: "alone", value: { partitions: 8 }, confirm: "alone" });
  expect(await site.refusal(expand)).toBe("404 TOPIC_NOT_FOUND");
  expect(lookup.changes).toEqual([]);
});

test("what says no place or broker is refused, and so is the removal of a broker without its name", async () => {
  using lookup = new Lookup();
  await using site = await started(lookup);
  const refusal = (request: object) => site.refusal(site.send("/actions", request));
  for (const value of [{ partition: -1, from: "a", to: "b" }, { partition: 1024, from: "a", to: "b" }, { partition: 0, from: "a" }, {}])
    expect(await refusal({ action: "move", topic: "t", value })).toBe("400 INVALID_VALUE");
  for (const replicas of [0, 17, 1.5, "3"])
    expect(await refusal({ action: "replicas", topic: "t", value: { replicas } })).toBe("400 INVALID_VALUE");
  expect(await refusal({ action: "remove_node", broker: "b" })).toBe("400 NOT_CONFIRMED");
  expect(await refusal({ action: "remove_node" })).toBe("400 MISSING_BROKER");
  expect(await refusal({ action: "keep_node", topic: "t", broker: "b" })).toBe("400 INVALID_TOPIC");
  expect(lookup.changes).toEqual([]);
});

test("without a cluster there is nothing to be changed of one", async () => {
  await using site = WithAdmin.start({}, [], 1);
  expect((await site.get("/session")).cluster).toBe(false);
  expect(await site.refusal(site.send("/actions", { action: "remove_node", broker: "b", confirm: "b" }))).toBe("404 NO_CLUSTER");
});
