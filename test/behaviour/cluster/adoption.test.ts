import { expect, test } from "bun:test";
import { runCommand } from "../../cli/commands/support/cli.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { startServer, until } from "../../support/server.ts";
import { ClusterProcesses, type ClusterServer } from "./support/cluster-processes.ts";

const HERE = { host: "127.0.0.1", prefix: [] };

describeUnless(missing("etcd"))("topics that a broker had before it joined a cluster", () => {
  test("stay there, get replicas when asked, and lose neither messages nor channels nor what is deferred", async () => {
    const folders = [0, 1, 2].map(() => temporaryFolder());
    // The cluster's own prefixes begin with 0, as those of node id 0 do.
    const zero = await startServer({ dataPath: folders[0] as string, args: ["--node-id=0"] });
    await zero.http("POST", "/topic/create?topic=clash");
    await zero.stop();
    const lone = await startServer({ dataPath: folders[1] as string, args: ["--node-id=1"] });
    const at = (path: string, body?: string) => lone.http("POST", path, body);
    await at("/topic/create?topic=old&partition_num=2");
    await at("/channel/create?topic=old&channel=work");
    for (let i = 0; i < 20; i++) await at("/pub?topic=old", `m${i}`);
    await at("/pub?topic=old&defer=3600000", "later");
    await lone.stop();

    await using cluster = await ClusterProcesses.start({
      lookups: [HERE],
      brokers: [HERE, HERE, HERE],
      dataPaths: folders,
    });
    const [lookup] = cluster.lookups as [ClusterServer];
    const owner = cluster.brokers[1] as ClusterServer;
    const bunsq = (...args: string[]) => runCommand({ BUNSQ_LOOKUP: lookup.http }, ["cluster", ...args]);
    const status = async () => JSON.parse((await bunsq("status", "--json")).stdout || "{}") as { brokers?: { state: string }[] };
    await until("all brokers are members", async () => (await status()).brokers?.length === 3);
    const known = async () => (await lookup.call("GET", "/lookup?topic=old")).text.includes(owner.http.split(":")[1] as string);
    await until("the topic is registered", known);
    expect((await bunsq("topics", "old")).code).toBe(1);
    await lookup.call("POST", "/topic/create?topic=first&partition_num=40");
    const refused = await bunsq("replicas", "clash", "2");
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/begin with 00\w{4}, which the cluster has given.*nsq_to_nsq/),
    ]);
    const taken = await bunsq("replicas", "old", "3");
    expect([taken.stderr, taken.code]).toEqual(["", 0]);
    const topics = async () => JSON.parse((await bunsq("topics", "old", "--json")).stdout) as { partitions: { in_sync: string[] }[] }[];
    await until(
      "three replicas are in sync",
      async () => (await topics())[0]?.partitions.every((one) => one.in_sync.length === 3) === true,
    );

    // Its first owner is lost with its disk.
    await owner.stop("SIGKILL");
    await until("others lead", async () => {
      const [topic] = JSON.parse((await bunsq("topics", "old", "--json")).stdout) as {
        partitions: { in_sync: string[]; leader: string }[];
      }[];
      return topic?.partitions.every(({ in_sync: inSync, leader }) => leader !== "" && inSync.length === 2) === true;
    });
    interface Channel {
      channel_name: string;
      depth: number;
      deferred_count: number;
    }
    const stats = async () => {
      let [depth, deferred] = [0, 0];
      for (const broker of [cluster.brokers[0], cluster.brokers[2]]) {
        const answer = JSON.parse((await broker?.call("GET", "/stats?format=json&topic=old"))?.text ?? "{}") as {
          topics?: { channels: Channel[]; partitions?: { channels: Channel[] }[] }[];
        };
        for (const channel of answer.topics?.flatMap((topic) => topic.channels) ?? []) {
          if (channel.channel_name !== "work") continue;
          depth += channel.depth;
          deferred += channel.deferred_count;
        }
      }
      return [depth, deferred].join();
    };
    await until("all messages are there", async () => (await stats()) === "20,1").catch(async (error: Error) => {
      throw new Error(`${error.message}: ${await stats()}`);
    });
    for (const folder of folders) removeFolder(folder);
  }, 120_000);
});
