import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { certificate, clientTls } from "../../support/certs/certs.ts";
import { RealEtcd } from "../../support/etcd.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { until } from "../../support/server.ts";
import { ClusterProcesses } from "./support/cluster-processes.ts";

const HERE = { host: "127.0.0.1", prefix: [] };
const NAME = "secured";
const PASSWORD = "a password";
const LONG_MS = 90_000;

/** Has etcd ask for passwords. One user may change what the cluster has, and nothing else. */
async function withUsers(etcd: RealEtcd): Promise<RealEtcd> {
  const { ca } = clientTls();
  const post = async (path: string, body: object) => {
    const answer = await fetch(`${etcd.endpoints[0]}/v3/auth/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      tls: { ca },
    });
    expect([path, answer.status, await answer.text()]).toEqual([path, 200, expect.any(String)]);
  };
  await post("user/add", { name: "root", password: "root's" });
  await post("user/grant", { user: "root", role: "root" });
  await post("role/add", { name: NAME });
  // All keys that begin with this.
  await post("role/grant", {
    name: NAME,
    perm: { permType: "READWRITE", key: btoa(`/bunsq/${NAME}/`), range_end: btoa(`/bunsq/${NAME}0`) },
  });
  await post("user/add", { name: "broker", password: PASSWORD });
  await post("user/grant", { user: "broker", role: NAME });
  await post("enable", {});
  return etcd;
}

describeUnless(missing("etcd"))("a cluster with TLS, in an etcd with users", () => {
  test(
    "replicates and passes publishes on; its user may change nothing else of etcd",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "bunsq-secured-"));
      const passwordFile = join(folder, "password");
      writeFileSync(passwordFile, `${PASSWORD}\n`);
      const node = { cert: certificate("node.pem"), key: certificate("node.key"), ca: certificate("ca.pem") };
      // A certificate with a common name would be refused by a gateway that asks for certificates and for passwords.
      const etcd = await RealEtcd.start({ scheme: "https", flags: [`--cert-file=${node.cert}`, `--key-file=${node.key}`] });
      const flags = [
        ...[`--cluster=${NAME}`, "--cluster-lease=1s", "--etcd-user=broker", `--etcd-password-file=${passwordFile}`],
        `--etcd-ca=${node.ca}`,
      ];
      const tls = [`--replication-tls-cert=${node.cert}`, `--replication-tls-key=${node.key}`, `--replication-tls-ca=${node.ca}`];
      await using cluster = await ClusterProcesses.start({
        ...{ ownEtcd: await withUsers(etcd), lookups: [HERE], brokers: [HERE, HERE, HERE] },
        ...{ lookupFlags: flags, brokerFlags: [...flags, ...tls] },
      });
      const [lookup] = cluster.lookups;
      const inSync = async () => {
        const { text } = (await lookup?.call("GET", "/cluster/topics?topic=t")) ?? { text: "" };
        const { topics = [] } = JSON.parse(text) as { topics?: { partitions: { in_sync: string[] }[] }[] };
        return topics[0]?.partitions[0]?.in_sync.length;
      };
      await until(
        "a topic is made",
        async () => (await lookup?.call("POST", "/topic/create?topic=t&partition_num=1&replicator=3"))?.status === 200,
      );
      for (const { http } of cluster.brokers)
        await until(
          "each broker takes a publish",
          async () => (await fetch(`http://${http}/pub?topic=t`, { method: "POST", body: "m" })).ok,
        );
      await until("all three are in sync", async () => (await inSync()) === 3);
      const user = { name: "broker", password: PASSWORD };
      const asBroker = new EtcdHttp({ endpoints: etcd.endpoints, callLimitMs: 10_000, tls: { ca: clientTls().ca }, user });
      expect(await asBroker.put("/bunsq/other/topics/t", "")).toMatchObject({ reason: "refused" });
      rmSync(folder, { recursive: true });
    },
    LONG_MS,
  );
});
