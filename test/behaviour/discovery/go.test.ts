import { afterAll, beforeAll, expect, test } from "bun:test";
import { type LookupProgram, startLookupServer } from "../../support/lookup.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { type Program, type Running, type Server, startProcess, startServer, until } from "../../support/server.ts";

/** Go's nsqd connects again at its next command, which is a PING after 15 s at the latest. Ours must need less than 5 s. */
const HEALED_MS = 5000;

interface Lookup extends Running {
  readonly program: LookupProgram;
}

interface Stats {
  topics: { topic_name: string; message_count: number; channels: { channel_name: string; depth: number }[] }[];
}

describeUnless(missing("nsqd", "nsqlookupd", "nsqadmin", "nsq_stat"))(
  "our broker and Go's nsqd, both registered at our lookup server and at Go's,",
  () => {
    let lookups: Lookup[];
    let ours: Server;
    let theirs: Server;
    let admins: Running[];

    const startLookup = async (program: LookupProgram, args: string[] = []): Promise<Lookup> => ({
      ...(await startLookupServer(program, args)),
      program,
    });
    const startBroker = (program: Program) => {
      const addresses = lookups.map(({ tcpPort }) => `--lookupd-tcp-address=127.0.0.1:${tcpPort}`);
      return startServer({ program, args: ["--broadcast-address=127.0.0.1", ...addresses] });
    };
    const post = async (server: Running, path: string, body = "") => expect((await server.http("POST", path, body)).status).toBe(200);
    const told = async (server: Running, path: string) => settled(await (await server.http("GET", path)).json());
    /** Expects both lookups to give the same, expected answer. */
    const untilTold = (what: string, path: string, expected: (answer: string) => boolean, timeoutMs?: number) =>
      until(
        what,
        async () => {
          const [one, other] = [await told(lookups[0], path), await told(lookups[1], path)];
          return Bun.deepEquals(one, other) && expected(JSON.stringify(one));
        },
        timeoutMs,
      );
    const hasPort = (answer: string, server: Server) => answer.includes(`"http_port":${server.httpPort},`);
    const channelsOf = async (broker: Server, topic: string) => {
      const { topics } = (await (await broker.http("GET", `/stats?format=json&topic=${topic}`)).json()) as Stats;
      return (topics?.[0]?.channels ?? []).map(({ channel_name, depth }) => `${channel_name}:${depth}`).sort();
    };

    beforeAll(async () => {
      lookups = await Promise.all([startLookup("bunsq"), startLookup("nsqlookupd")]);
      [ours, theirs] = await Promise.all([startBroker("bunsq"), startBroker("nsqd")]);
      admins = await Promise.all(
        lookups.map(({ httpPort }) =>
          startProcess("nsqadmin", ["nsqadmin", "-http-address=127.0.0.1:0", `-lookupd-http-address=127.0.0.1:${httpPort}`], ["HTTP"]),
        ),
      );
    }, 60_000);

    afterAll(async () => {
      for (const running of [...(admins ?? []), ours, theirs, ...(lookups ?? [])]) await running?.stop("SIGKILL");
    });

    test("are nodes of both, with equal entries but for their ports", async () => {
      await untilTold("both are nodes", "/nodes", (nodes) => hasPort(nodes, ours) && hasPort(nodes, theirs));
      const { producers } = (await told(lookups[1], "/nodes")) as { producers: { tcp_port: number; http_port: number }[] };
      const withoutPorts = producers.map((producer) => ({ ...producer, tcp_port: 0, http_port: 0 }));
      expect(withoutPorts[0]).toEqual(withoutPorts[1]);
      expect(producers.map(({ tcp_port }) => tcp_port).sort()).toEqual([ours.tcpPort, theirs.tcpPort].sort());
    });

    test("register and unregister each topic and channel that comes or goes", async () => {
      for (const broker of [ours, theirs]) {
        await post(broker, "/topic/create?topic=orders");
        await post(broker, "/channel/create?topic=orders&channel=mail");
      }
      await post(ours, "/channel/create?topic=orders&channel=passing%23ephemeral");
      await untilTold(
        "both have orders",
        "/lookup?topic=orders",
        (answer) => answer.includes("mail") && answer.includes("passing#ephemeral") && hasPort(answer, ours) && hasPort(answer, theirs),
      );
      await post(ours, "/channel/delete?topic=orders&channel=passing%23ephemeral");
      await untilTold("the channel is gone", "/channels?topic=orders", (answer) => answer === '{"channels":["mail"]}');
      await post(ours, "/topic/create?topic=short");
      await untilTold("short is there", "/lookup?topic=short", (answer) => hasPort(answer, ours));
      await post(ours, "/topic/delete?topic=short");
      await untilTold("short has no producer", "/lookup?topic=short", (answer) => !hasPort(answer, ours));
      for (const lookup of lookups) await post(lookup, "/topic/delete?topic=short");
    });

    test("start a topic with the channels that it has on the other broker", async () => {
      for (const [first, second, topic] of [
        [ours, theirs, "from-ours"],
        [theirs, ours, "from-theirs"],
      ] as const) {
        await post(first, `/topic/create?topic=${topic}`);
        await post(first, `/channel/create?topic=${topic}&channel=one`);
        await post(first, `/channel/create?topic=${topic}&channel=two`);
        await untilTold("the channels are known", `/channels?topic=${topic}`, (answer) => answer === '{"channels":["one","two"]}');
        await post(second, `/pub?topic=${topic}`, "first");
        await until("both channels have the first message", async () => (await channelsOf(second, topic)).join() === "one:1,two:1");
      }
    });

    test("are shown equally by nsqadmin through either lookup, with their topics", async () => {
      await post(ours, "/mpub?topic=orders", "a\nb\nc");
      await post(theirs, "/mpub?topic=orders", "d\ne");
      await until("the messages are counted", async () => (await channelsOf(theirs, "orders")).join() === "mail:2");
      for (const path of ["/nodes", "/topics", "/topics/orders/mail"]) {
        const [one, other] = await Promise.all(admins.map((admin) => told(admin, `/api${path}`)));
        expect(one).toEqual(other);
      }
      const [admin] = admins;
      expect(await told(admin, "/api/topics")).toEqual({ message: "", topics: ["from-ours", "from-theirs", "orders"] });
      const { nodes, message } = (await told(admin, "/api/nodes")) as { nodes: Record<string, unknown>[]; message: string };
      expect(message).toBe("");
      for (const broker of [ours, theirs]) {
        const node = nodes.find(({ http_port }) => http_port === broker.httpPort);
        expect(node).toMatchObject({ broadcast_address: "127.0.0.1", tcp_port: broker.tcpPort, version: "1.3.0", out_of_date: false });
        expect(JSON.stringify(node?.topics)).toContain('{"tombstoned":false,"topic":"orders"}');
      }
      // The order within a topic's nodes depends on which broker answers nsqadmin first.
      for (const each of admins) {
        const topic = (await told(each, "/api/topics/orders")) as { nodes: Record<string, unknown>[] };
        expect(topic).toMatchObject({
          message: "",
          topic_name: "orders",
          message_count: 5,
          channels: [{ channel_name: "mail", depth: 5 }],
        });
        const counts = topic.nodes.map(({ node, message_count }) => `${node} ${message_count}`).sort();
        expect(counts).toEqual([`127.0.0.1:${ours.httpPort} 3`, `127.0.0.1:${theirs.httpPort} 2`].sort());
      }
    });

    test("are summed up by nsq_stat through either lookup", async () => {
      for (const { httpPort } of lookups) {
        const flags = [`-lookupd-http-address=127.0.0.1:${httpPort}`, "-topic=orders", "-channel=mail", "-count=1", "-interval=100ms"];
        const stat = Bun.spawn(["nsq_stat", ...flags], { stdout: "pipe", stderr: "ignore" });
        // Five messages: the depth, those in memory or on disk, and the total.
        expect(await new Response(stat.stdout).text()).toMatch(/\|\s+5\s+\d\s+0\s+0\s+0 \|\s+0\s+0\s+5\s+0$/m);
      }
    });

    test("lose a topic that nsqadmin deletes", async () => {
      expect((await admins[1].http("DELETE", "/api/topics/from-ours", "{}")).status).toBe(200);
      for (const broker of [ours, theirs]) expect(await channelsOf(broker, "from-ours")).toEqual([]);
      await untilTold("no producer of it is left", "/nodes", (nodes) => nodes.includes("from-theirs") && !nodes.includes("from-ours"));
    });

    test("leave and come back when the list of lookups is changed at run time", async () => {
      const addresses = JSON.stringify(lookups.map(({ tcpPort }) => `127.0.0.1:${tcpPort}`));
      for (const broker of [ours, theirs]) {
        expect((await broker.http("PUT", "/config/nsqlookupd_tcp_addresses", "[]")).status).toBe(200);
        await untilTold("it is gone", "/nodes", (nodes) => !hasPort(nodes, broker));
        expect((await broker.http("PUT", "/config/nsqlookupd_tcp_addresses", addresses)).status).toBe(200);
        await untilTold("it is back", "/lookup?topic=orders", (answer) => hasPort(answer, broker));
      }
    });

    test("vanish from both when they are killed", async () => {
      for (const program of ["bunsq", "nsqd"] as const) {
        const dying = await startBroker(program);
        await post(dying, "/topic/create?topic=orders");
        await untilTold("it is there", "/lookup?topic=orders", (answer) => hasPort(answer, dying));
        await dying.stop("SIGKILL");
        for (const path of ["/nodes", "/lookup?topic=orders"]) await untilTold("it is gone", path, (answer) => !hasPort(answer, dying));
      }
    }, 30_000);

    test("are known again when a lookup is back, ours in less than 5 s and without a change to register", async () => {
      for (const [i, lookup] of lookups.entries()) {
        await lookup.stop("SIGKILL");
        const ports = [`--tcp-address=127.0.0.1:${lookup.tcpPort}`, `--http-address=127.0.0.1:${lookup.httpPort}`];
        lookups[i] = await startLookup(lookup.program, ports);
        await until(
          "our broker is known",
          async () => hasPort(JSON.stringify(await told(lookups[i], "/lookup?topic=orders").catch(() => "")), ours),
          HEALED_MS,
        );
        expect(JSON.stringify(await told(lookups[i], "/lookup?topic=orders"))).toContain('"channels":["mail"]');
      }
    }, 30_000);
  },
);

/** The part of an answer that must be equal from two lookups: without the addresses of connections, and with sorted lists. */
function settled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(settled).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).filter(([key]) => key !== "remote_addresses" && key !== "remote_address");
  return Object.fromEntries(entries.sort().map(([key, item]) => [key, settled(item)]));
}
