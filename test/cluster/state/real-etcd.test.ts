import { expect } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { ClusterView } from "../../../src/cluster/state/cluster-view.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { Membership } from "../../../src/cluster/state/membership.ts";
import { type LookupRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { RealEtcd } from "../../support/etcd.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { until } from "../../support/server.ts";

const LEASE_MS = 2_000;

testUnless(missing("etcd"))(
  "members come and go in the view of a real etcd, also while its members are killed",
  async () => {
    await using real = await RealEtcd.start({ members: 3 });
    const keys = new ClusterKeys("main");
    const etcd = () => new EtcdHttp({ endpoints: real.endpoints, callLimitMs: 2_000 });
    const view = new ClusterView(etcd(), keys, systemClock, new MemoryLogger());
    const loaded = view.start();
    const joined: string[] = [];
    const member = (id: string): Membership<LookupRecord> => {
      const record = { uid: id, run: crypto.randomUUID(), tcp: "", http: "h:1", version: "1" };
      const membership = new Membership(etcd(), systemClock, keys.member("lookups", id), SHAPES.lookups, record, LEASE_MS, {
        onJoined: () => joined.push(id),
        onLapsed() {},
        onRenewed() {},
        onLost() {},
        onRefused: (error) => joined.push(error.message),
        onTrouble() {},
      });
      membership.start();
      return membership;
    };
    const [one, other] = [member("l1"), member("l2")];
    await loaded;
    await until("both are there", () => view.lookups.has("l1") && view.lookups.has("l2"));
    for (const index of [0, 1, 2]) {
      real.signal(index, "SIGKILL");
      one.update({ tcp: `h:${index}` });
      await until("the view has what a member says", () => view.lookups.get("l1")?.value.tcp === `h:${index}`);
      await real.restart(index);
    }
    // Without leave() it goes with its lease.
    other.lease.close();
    await until("the other is gone", () => !view.lookups.has("l2"));
    await one.leave();
    await until("the one is gone", () => !view.lookups.has("l1"));
    expect(new Set(joined)).toEqual(new Set(["l1", "l2"]));
    view.close();
  },
  60_000,
);

testUnless(missing("etcd"))(
  "a view follows an etcd that was restored from a backup, although its revisions begin again",
  async () => {
    await using real = await RealEtcd.start();
    const keys = new ClusterKeys("main");
    const etcd = new EtcdHttp({ endpoints: real.endpoints, callLimitMs: 2_000 });
    const view = new ClusterView(etcd, keys, systemClock, new MemoryLogger());
    const put = (id: string) =>
      until(`${id} is put`, async () => {
        const record = { uid: id, run: "r", tcp: "", http: "h:1", version: "1" };
        return !((await etcd.put(keys.member("lookups", id), SHAPES.lookups.write(record))) instanceof EtcdError);
      });
    await put("before");
    await view.start();
    await real.save(0);
    for (const id of ["lost1", "lost2", "lost3"]) await put(id);
    await until("the view has the last one", () => view.lookups.has("lost3"));
    await real.restore(0);
    await put("after");
    await until("the view has what etcd has", () => [...view.lookups.keys()].join() === "before,after");
    view.close();
  },
  60_000,
);
