import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { RealEtcd } from "../../support/etcd.ts";
import { missing } from "../../support/needs.ts";
import { until } from "../../support/server.ts";
import { playEtcdSuite } from "./etcd-suite.ts";

playEtcdSuite("a real etcd", missing("etcd"), async () => {
  const real = await RealEtcd.start();
  const etcd = new EtcdHttp({ endpoints: real.endpoints, callLimitMs: 10_000 });
  return {
    etcd,
    settle: (promise) => promise,
    until,
    pass: (ms) => Bun.sleep(ms),
    nowMs: () => performance.now(),
    compact: async () => {
      const read = await etcd.get("/");
      const revision = "revision" in read ? read.revision : 0;
      await fetch(`${real.endpoints[0]}/v3/kv/compaction`, {
        method: "POST",
        body: JSON.stringify({ revision: String(revision), physical: true }),
      });
    },
    [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
  };
});
