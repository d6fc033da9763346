import { afterAll, beforeAll, expect, test } from "bun:test";
import { describeUnless, missing } from "../../support/needs.ts";
import { ask, type Request, startConsole, type Twins } from "./support/consoles.ts";
import { DIFFERENCES } from "./support/differences.ts";

/** Nobody listens there. */
const DOWN = "127.0.0.1:1";

/** The codes that both consoles answer, and what has come to servers that did it. */
type Outcome = { nsqadmin: number; bunsq: number; done: string[] };

describeUnless(missing("nsqadmin"))("beside Go's nsqadmin, where brokers fail,", () => {
  /** A lookup server that does all it is told, and lists one broker that is down. */
  let lookup: Bun.Server<undefined>;
  /** A broker that shows its topic, and fails in all that it is told. */
  let broker: Bun.Server<undefined>;
  let overLookup: Twins;
  let overBroker: Twins;
  const done: string[] = [];

  beforeAll(async () => {
    lookup = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: ({ method, url }) => {
        const { pathname } = new URL(url);
        if (method === "POST") done.push(pathname);
        if (pathname === "/info") return Response.json({ version: "1.3.0" });
        const node = { broadcast_address: "127.0.0.1", hostname: "h", tcp_port: 2, http_port: 1, version: "1.3.0" };
        return Response.json({ producers: [{ ...node, topics: ["t"], tombstones: [false] }], channels: ["c"], topics: ["t"] });
      },
    });
    broker = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: ({ method, url }) => {
        const { pathname, port } = new URL(url);
        if (method === "POST") return Response.json({ message: "INTERNAL_ERROR" }, { status: 500 });
        const node = { broadcast_address: "127.0.0.1", hostname: "h", tcp_port: 2, http_port: Number(port), version: "1.3.0" };
        return Response.json(pathname === "/info" ? node : { topics: [{ topic_name: "t", channels: [{ channel_name: "c" }] }] });
      },
    });
    const twins = async (flag: string, { port }: Bun.Server<undefined>): Promise<Twins> => {
      const args = [`--${flag}=127.0.0.1:${port}`];
      const [nsqadmin, bunsq] = await Promise.all([startConsole("nsqadmin", args), startConsole("bunsq", args)]);
      return { nsqadmin, bunsq };
    };
    overLookup = await twins("lookupd-http-address", lookup);
    overBroker = await twins("nsqd-http-address", broker);
  }, 30_000);

  afterAll(async () => {
    for (const { nsqadmin, bunsq } of [overLookup, overBroker]) for (const one of [nsqadmin, bunsq]) await one.stop("SIGKILL");
    await Promise.all([lookup.stop(true), broker.stop(true)]);
  });

  const outcomeOf = async (twins: Twins, request: Request): Promise<Outcome> => {
    const nsqadmin = await ask(twins.nsqadmin, request);
    done.length = 0;
    const bunsq = await ask(twins.bunsq, request);
    const { message } = JSON.parse(bunsq.body) as { message: string };
    expect(message).toStartWith(bunsq.status === 200 ? "WARNING: Post " : "UPSTREAM_ERROR: failed to query any nsqd: Post ");
    return { nsqadmin: nsqadmin.status, bunsq: bunsq.status, done: [...done] };
  };
  const PAUSE = { method: "POST", body: '{"action":"pause"}' };

  test("differs as listed: what fails at each server", async () => {
    expect(DIFFERENCES.map(({ name }) => name)).toContain("An action that fails at each server that it concerns");
    const node = `127.0.0.1:${broker.port}`;
    for (const [twins, request] of [
      [overLookup, { ...PAUSE, path: "/api/topics/t" }],
      [overLookup, { ...PAUSE, path: "/api/topics/t/c" }],
      [overBroker, { ...PAUSE, path: "/api/topics/t" }],
      [overBroker, { method: "DELETE", path: "/api/topics/t" }],
      [overBroker, { method: "DELETE", path: "/api/topics/t/c" }],
      [overBroker, { method: "DELETE", path: `/api/nodes/${node}`, body: '{"topic":"t"}' }],
    ] as const)
      expect([request, await outcomeOf(twins, request)]).toEqual([request, { nsqadmin: 200, bunsq: 502, done: [] }]);
  });

  test("differs as listed: tombstoning a broker that is down, which both do", async () => {
    expect(DIFFERENCES.map(({ name }) => name)).toContain("Tombstoning a broker that is down");
    const request = { method: "DELETE", path: `/api/nodes/${DOWN}`, body: '{"topic":"t"}' };
    expect(await outcomeOf(overLookup, request)).toEqual({ nsqadmin: 502, bunsq: 200, done: ["/topic/tombstone"] });
  });

  test("answers as nsqadmin does what lookup servers have done and no broker has", async () => {
    const both = { nsqadmin: 200, bunsq: 200 };
    expect(await outcomeOf(overLookup, { method: "DELETE", path: "/api/topics/t" })).toEqual({ ...both, done: ["/topic/delete"] });
    expect(await outcomeOf(overLookup, { method: "DELETE", path: "/api/topics/t/c" })).toEqual({ ...both, done: ["/channel/delete"] });
    const create = { method: "POST", path: "/api/topics", body: '{"topic":"t","channel":"c"}' };
    expect(await outcomeOf(overLookup, create)).toEqual({ ...both, done: ["/topic/create", "/channel/create"] });
  });
});
