import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Outcome, runCommand } from "../../cli/commands/support/cli.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { until } from "../../support/server.ts";
import { ClusterProcesses, type ClusterServer } from "./support/cluster-processes.ts";

const HERE = { host: "127.0.0.1", prefix: [] };

interface Status {
  brokers: { uid: string; http: string; state: string; leaders: number; replicas: number; removal: { state: string } | null }[];
  moves: object[];
  risks: { kind: string; severity: string; text: string }[];
}

interface Topic {
  topic: string;
  replicas: number;
  min_in_sync: number;
  partitions: { partition: number; leader: string; replicas: string[]; in_sync: string[] }[];
}

describeUnless(missing("etcd"))("bunsq cluster, with real servers", () => {
  let cluster: ClusterProcesses;

  const bunsq = (...args: string[]): Promise<Outcome> =>
    runCommand({ BUNSQ_LOOKUP: cluster.lookups.map(({ http }) => http).join(",") }, ["cluster", ...args]);
  const json = async <T>(...args: string[]) => JSON.parse((await bunsq(...args, "--json")).stdout) as T;
  const status = () => json<Status>("status");
  const partition = async (topic: string) => (await json<Topic[]>("topics", topic))[0]?.partitions[0];
  const uidOf = async ({ http }: ClusterServer) => (await status()).brokers.find((broker) => broker.http === http)?.uid ?? "";
  const isWhole = (topic: string, replicas: number) =>
    until(`${replicas} replicas of ${topic} are in sync`, async () => {
      const one = await partition(topic);
      return one?.in_sync.length === replicas && one.replicas.length === replicas && one.leader !== "";
    });

  beforeAll(async () => {
    cluster = await ClusterProcesses.start({
      lookups: [HERE, HERE],
      brokers: [HERE, HERE, HERE],
      lookupFlags: ["--cluster-lease=1s"],
      brokerFlags: ["--cluster-lease=1s"],
    });
    await until(
      "all brokers are members",
      async () => (await bunsq("status", "--json")).code === 0 && (await status()).brokers.length === 3,
    );
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test("status and topics show brokers and where replicas are", async () => {
    const [lookup] = cluster.lookups;
    expect((await lookup?.call("POST", "/topic/create?topic=orders&partition_num=2&replicator=2&channel_order=key"))?.status).toBe(200);
    await isWhole("orders", 2);
    // A channel is made at all leaders, as the topic says.
    expect((await lookup?.call("POST", "/channel/create?topic=orders&channel=work&partition=**"))?.status).toBe(200);
    for (const broker of cluster.brokers) {
      const { topics: own } = JSON.parse((await broker.call("GET", "/stats?format=json&topic=orders")).text) as {
        topics: { channels: { channel_name: string; delivery: { order: string } }[] }[];
      };
      const led = (await status()).brokers.find(({ http }) => http === broker.http)?.leaders ?? 0;
      if (led > 0) expect(own[0]?.channels).toMatchObject([{ channel_name: "work", delivery: { order: "key" } }]);
    }
    const shown = await bunsq("status");
    const lines = shown.stdout.split("\n");
    expect([shown.code, shown.stderr, lines[0]]).toEqual([0, "", "cluster bunsq: 3 brokers, 1 topic, 2 partitions"]);
    expect(lines[1]).toMatch(/^lookup servers: .*\(controller\)/);
    for (const { http } of cluster.brokers) expect(shown.stdout).toMatch(new RegExp(`^${http} +[0-9a-f]{8} +alive +\\d +\\d +\\d`, "m"));
    // The disk of this machine may be nearly full.
    expect((await status()).risks.filter(({ kind }) => kind !== "disk-low")).toEqual([]);
    const topics = await bunsq("topics", "orders");
    expect(topics.stdout).toMatch(
      /^TOPIC +PARTITION +LEADER +IN SYNC +REPLICAS +NOT IN SYNC +EPOCH +STATE\norders +0 +127\.0\.0\.1:\d+ +2 of 2, needs 2/,
    );
    expect(await bunsq("topics", "nothing")).toEqual({
      code: 1,
      stdout: "",
      stderr: "bunsq cluster topics: there is no topic nothing in the cluster\n",
    });
  }, 60_000);

  test("replicas are added, moved and led elsewhere, and a topic gets more partitions", async () => {
    expect((await bunsq("replicas", "orders", "3")).stdout).toBe("topic orders gets 3 replicas; see bunsq cluster topics orders\n");
    await isWhole("orders", 3);
    expect((await json<Topic[]>("topics", "orders"))[0]).toMatchObject({ replicas: 3, min_in_sync: 2 });
    const before = await partition("orders");
    const other = before?.replicas.find((uid) => uid !== before.leader) ?? "";
    expect((await bunsq("lead", "orders", "0", other.slice(0, 10))).code).toBe(0);
    await until("the other one leads", async () => (await partition("orders"))?.leader === other);
    expect((await bunsq("replicas", "orders", "1")).code).toBe(0);
    await isWhole("orders", 1);
    const from = (await partition("orders"))?.leader ?? "";
    const to = (await status()).brokers.find(({ uid }) => uid !== from);
    expect((await bunsq("move", "orders", "0", from, to?.http ?? "")).stdout).toContain("orders/0 moves from");
    await until("it has moved", async () => (await partition("orders"))?.replicas.join() === to?.uid);
    expect((await bunsq("expand", "orders", "3")).stdout).toBe("topic orders has 3 partitions\n");
    await until("the third one is led", async () => (await json<Topic[]>("topics", "orders"))[0]?.partitions[2]?.leader !== "");
    const refused = await bunsq("expand", "orders", "2");
    expect([refused.code, refused.stderr]).toEqual([1, "bunsq cluster expand: topic orders has 3 partitions; they cannot be made fewer\n"]);
    expect((await bunsq("min-in-sync", "orders", "4")).stderr).toContain("topic orders has 1 replicas");
    expect((await bunsq("replicas", "orders", "many")).code).toBe(2);
  }, 60_000);

  test("a broker is drained, and kept after all", async () => {
    expect((await bunsq("replicas", "orders", "2")).code).toBe(0);
    await isWhole("orders", 2);
    const [, , leaving] = cluster.brokers as [ClusterServer, ClusterServer, ClusterServer];
    const drained = await bunsq("remove-node", leaving.http, "--wait");
    expect([drained.code, drained.stdout]).toEqual([0, `${leaving.http} has nothing left and can be taken away\n`]);
    const own = (await status()).brokers.find(({ http }) => http === leaving.http);
    expect(own).toMatchObject({ replicas: 0, state: "leaving", removal: { state: "drained" } });
    expect((await bunsq("remove-node", leaving.http, "--cancel")).stdout).toBe(`${leaving.http} stays\n`);
    await until("it is alive", async () => (await status()).brokers.every(({ state }) => state === "alive"));
  }, 60_000);

  test("a partition whose brokers in sync are lost is recovered when that is said, and no sooner", async () => {
    const [lookup] = cluster.lookups as [ClusterServer, ClusterServer];
    expect((await lookup.call("POST", "/topic/create?topic=lost&partition_num=1&replicator=3")).status).toBe(200);
    await isWhole("lost", 3);
    const [first, second, third] = cluster.brokers as [ClusterServer, ClusterServer, ClusterServer];
    // One falls behind, and then those that are in sync are gone.
    await third.stop("SIGKILL");
    const behind = await until("it is out of sync", async () => (await partition("lost"))?.in_sync.length === 2).then(() => third);
    await Promise.all([first.stop("SIGKILL"), second.stop("SIGKILL")]);
    await behind.start();
    const uid = await uidOf(behind);
    await until("only that one is there", async () => {
      const { brokers } = await status();
      return (
        brokers
          .filter(({ state }) => state !== "away")
          .map(({ http }) => http)
          .join() === behind.http
      );
    });
    const shown = await bunsq("status");
    expect([shown.code, shown.stdout]).toEqual([1, expect.stringMatching(/^critical: .*lost\/0.* no leader: .*bunsq cluster recover/m)]);
    expect((await bunsq("topics", "lost")).stdout).toMatch(/^lost +0 +\S+ \(away\) +2 of 3, needs 2, all away /m);
    const left = await bunsq("recover", "lost", "0");
    expect([left.code, left.stderr]).toEqual([1, expect.stringContaining("--from=BROKER --accept-data-loss")]);
    expect(left.stdout).toMatch(new RegExp(`^${behind.http} +alive +no +\\d+ +\\d+$`, "m"));
    const asked = await bunsq("recover", "lost", "0", `--from=${behind.http}`);
    expect([asked.code, asked.stderr]).toEqual([1, expect.stringContaining("is lost for good when it leads")]);
    expect((await bunsq("min-in-sync", "lost", "1")).code).toBe(0);
    const done = await bunsq("recover", "lost", "0", `--from=${behind.http}`, "--accept-data-loss");
    expect(done).toEqual({ code: 0, stdout: `${behind.http} leads lost/0 with what it has\n`, stderr: "" });
    await until("it leads", async () => (await partition("lost"))?.leader === uid);
    expect(cluster.lookups.map(({ log }) => log).join("\n")).toContain("acknowledged messages may be lost");
    await until("it takes publishes", async () => (await fetch(`http://${behind.http}/pub?topic=lost`, { method: "POST", body: "m" })).ok);
    await Promise.all([first.start(), second.start()]);
    await isWhole("lost", 3);
    const needless = await bunsq("recover", "lost", "0", `--from=${first.http}`, "--accept-data-loss");
    expect([needless.code, needless.stderr]).toEqual([1, expect.stringContaining("nothing of lost/0 has to be given up")]);
  }, 120_000);

  test("leaders are spread when that is asked for", async () => {
    const [lookup, ...rest] = cluster.lookups;
    const made = await (rest[0] ?? lookup)?.call("POST", "/topic/create?topic=spread&partition_num=6&replicator=3");
    expect(made?.status).toBe(200);
    const uid = (await status()).brokers.find(({ state }) => state === "alive")?.uid ?? "";
    const partitions = async () => (await json<Topic[]>("topics", "spread"))[0]?.partitions ?? [];
    const led = async () => (await partitions()).filter(({ leader }) => leader === uid).length;
    await until("it leads all", async () => {
      // Something else may be under way, or be done meanwhile.
      for (let at = 0; at < 6; at++) await bunsq("lead", "spread", String(at), uid);
      return (await led()) === 6;
    });
    // What is asked for is done once, with those that may lead then.
    await until("all are in sync", async () => (await partitions()).every(({ in_sync, replicas }) => in_sync.length === replicas.length));
    const asked = await bunsq("balance");
    expect([asked.code, asked.stdout]).toEqual([0, expect.stringContaining("are being balanced")]);
    // Other topics count as well: where it leads nothing of them, it keeps four of these six.
    await until("all lead as many, or one more", async () => {
      const counts = (await status()).brokers.map(({ leaders }) => leaders);
      return Math.max(...counts) - Math.min(...counts) <= 1;
    });
    expect(await led()).toBeLessThan(6);
  }, 60_000);

  test("another lookup server is asked if the first one is away", async () => {
    await cluster.lookups[0]?.stop("SIGKILL");
    const shown = await bunsq("topics", "--json");
    expect([shown.code, shown.stderr]).toEqual([0, expect.stringContaining("warning: cannot reach the lookup server")]);
  }, 60_000);
});
