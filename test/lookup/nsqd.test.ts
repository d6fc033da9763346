import { afterAll, beforeAll, expect, test } from "bun:test";
import { startLookupServer } from "../support/lookup.ts";
import { describeUnless, missing } from "../support/needs.ts";
import { MAIN, type Running, type Server, startProcess, startServer, until } from "../support/server.ts";

/** Brokers reconnect and register within this time. Go's programs ask their lookup servers when they start. */
const REGISTERED_MS = 15_000;

/** nsqadmin with one lookup server. */
class Admin {
  private constructor(private readonly running: Running) {}

  static async over(lookup: Running): Promise<Admin> {
    const flags = ["-http-address=127.0.0.1:0", `-lookupd-http-address=127.0.0.1:${lookup.httpPort}`];
    return new Admin(await startProcess("nsqadmin", ["nsqadmin", ...flags], ["HTTP"]));
  }

  async get(path: string): Promise<unknown> {
    const response = await this.running.http("GET", `/api${path}`);
    expect(response.status).toBe(200);
    return settled(await response.json());
  }

  async call(method: string, path: string, body: object): Promise<number> {
    return (await this.running.http(method, `/api${path}`, JSON.stringify(body))).status;
  }

  async stop(): Promise<void> {
    await this.running.stop();
  }
}

/** Makes answers of two lookup servers comparable: without the addresses of connections, and with sorted lists. */
function settled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(settled).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).filter(([key]) => key !== "remote_addresses" && key !== "remote_address");
  return Object.fromEntries(entries.sort().map(([key, item]) => [key, settled(item)]));
}

describeUnless(missing("nsqd", "nsqlookupd", "nsqadmin", "nsq_stat", "nsq_tail"))(
  "Go's nsqd, registered at our lookup server and at Go's,",
  () => {
    let ours: Running;
    let theirs: Running;
    let brokers: Server[];
    let adminOfOurs: Admin;
    let adminOfTheirs: Admin;

    const call = async (broker: Server, path: string, body = "") => expect((await broker.http("POST", path, body)).status).toBe(200);
    const told = async (lookup: Running, path: string) => settled(await (await lookup.http("GET", path)).json());
    const untilTold = (what: string, path: string, expected: (answer: string) => boolean) =>
      until(
        what,
        async () => {
          const answers = [await told(ours, path), await told(theirs, path)];
          return Bun.deepEquals(answers[0], answers[1]) && expected(JSON.stringify(answers[0]));
        },
        REGISTERED_MS,
      );

    beforeAll(async () => {
      [ours, theirs] = await Promise.all([startLookupServer("bunsq"), startLookupServer("nsqlookupd")]);
      const args = [ours, theirs].map(({ tcpPort }) => `-lookupd-tcp-address=127.0.0.1:${tcpPort}`);
      const start = () => startServer({ program: "nsqd", args: [...args, "-broadcast-address=127.0.0.1"] });
      brokers = await Promise.all([start(), start()]);
      [adminOfOurs, adminOfTheirs] = await Promise.all([Admin.over(ours), Admin.over(theirs)]);
    }, 60_000);

    afterAll(async () => {
      await Promise.all([adminOfOurs?.stop(), adminOfTheirs?.stop()]);
      await Promise.all((brokers ?? []).map((broker) => broker.stop("SIGKILL")));
      await Promise.all([ours?.stop(), theirs?.stop()]);
    });

    test("is listed with its topics and channels", async () => {
      await untilTold("both brokers are nodes", "/nodes", (nodes) => nodes.split('"hostname"').length === 3);
      for (const broker of brokers) await call(broker, "/topic/create?topic=orders");
      await call(brokers[0], "/channel/create?topic=orders&channel=mail");
      await call(brokers[1], "/channel/create?topic=orders&channel=tail%23ephemeral");
      await call(brokers[1], "/topic/create?topic=bills");
      await untilTold("both have orders", "/lookup?topic=orders", (answer) => answer.includes("mail") && answer.includes("tail#ephemeral"));
      await untilTold("one has bills", "/lookup?topic=bills", (answer) => answer.split('"tcp_port"').length === 2);
      expect(await told(ours, "/topics")).toEqual({ topics: ["bills", "orders"] });
    }, 60_000);

    test("is shown alike by nsqadmin with either server", async () => {
      for (const path of ["/nodes", "/topics", "/topics/orders", "/topics/orders/mail", "/topics?inactive=true"]) {
        const shown = await adminOfOurs.get(path);
        expect(shown).toEqual(await adminOfTheirs.get(path));
        expect(JSON.stringify(shown).length).toBeGreaterThan(20);
      }
      expect(await adminOfOurs.get("/topics")).toMatchObject({ topics: ["bills", "orders"], message: "" });
    }, 60_000);

    test("is found by nsq_stat and nsq_tail through ours", async () => {
      await call(brokers[0], "/pub?topic=orders", "first");
      const lookup = `-lookupd-http-address=127.0.0.1:${ours.httpPort}`;
      const stat = Bun.spawn(["nsq_stat", lookup, "-topic=orders", "-channel=mail", "-count=1", "-interval=100ms"], {
        stdout: "pipe",
        stderr: "pipe",
      });
      // One message: the depth, the memory depth and the total.
      expect(await new Response(stat.stdout).text()).toMatch(/\|\s+1\s+1\s+0\s+0\s+0 \|\s+0\s+0\s+1\s+0$/m);
      const tail = Bun.spawn(["nsq_tail", lookup, "-topic=orders", "-channel=mail", "-n=1"], { stdout: "pipe", stderr: "ignore" });
      expect(await new Response(tail.stdout).text()).toBe("first\n");
    }, 60_000);

    test("is tombstoned by nsqadmin through ours", async () => {
      const node = `127.0.0.1:${brokers[1].httpPort}`;
      for (const lookup of [ours, theirs]) await lookup.http("POST", `/topic/tombstone?topic=orders&node=${node}`);
      const nodes = await adminOfOurs.get("/nodes");
      expect(nodes).toEqual(await adminOfTheirs.get("/nodes"));
      expect(JSON.stringify(nodes)).toContain('{"tombstoned":true,"topic":"orders"}');
      // nsqadmin tombstones the topic and then deletes it at that broker.
      expect(await adminOfOurs.call("DELETE", `/nodes/${node}`, { topic: "orders" })).toBe(200);
      expect(JSON.stringify(await told(ours, "/lookup?topic=orders"))).not.toContain(`"http_port":${brokers[1].httpPort},`);
    }, 60_000);

    test("loses a topic that nsqadmin deletes through ours", async () => {
      expect(await adminOfOurs.call("DELETE", "/topics/bills", {})).toBe(200);
      expect(await told(ours, "/topics")).toEqual({ topics: ["orders"] });
      const stats = (await (await brokers[1].http("GET", "/stats?format=json&topic=bills")).json()) as { topics: unknown };
      expect(stats.topics).toBeNull();
    }, 60_000);

    test("is not listed after it is killed, and registers again when the lookup server is back", async () => {
      await brokers[1].stop("SIGKILL");
      await until(
        "it is no node any more",
        async () => !JSON.stringify(await told(ours, "/nodes")).includes(`"http_port":${brokers[1].httpPort},`),
      );
      const { tcpPort, httpPort } = ours;
      await ours.stop("SIGKILL");
      const addresses = [`--tcp-address=127.0.0.1:${tcpPort}`, `--http-address=127.0.0.1:${httpPort}`];
      ours = await startProcess("bunsq", [process.execPath, MAIN, "lookup", ...addresses]);
      // nsqd notices the lost connection at its next command, and reconnects at the one after.
      let topics = 0;
      await until(
        "the other is told again",
        async () => {
          await call(brokers[0], `/topic/create?topic=topic${++topics}`);
          await Bun.sleep(50);
          return JSON.stringify(await told(ours, "/nodes")).includes(`"http_port":${brokers[0].httpPort},`);
        },
        30_000,
      );
      expect(JSON.stringify(await told(ours, "/lookup?topic=orders"))).toContain("mail");
    }, 60_000);
  },
);
