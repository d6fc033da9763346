import { expect, test } from "bun:test";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { EtcdTrouble } from "../../../src/cluster/etcd/etcd-trouble.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { SimWorld } from "../simulator/sim-world.ts";

test("an etcd that is away is said once a minute, whoever finds it, and at once when it is away again", () => {
  const world = new SimWorld(1);
  const node = world.node("broker");
  const logger = new MemoryLogger();
  const said = logger.lines;
  const trouble = new EtcdTrouble(logger, node);
  const away = (why: string) => trouble.tell(new EtcdError("unreachable", "none", why));
  for (let second = 0; second < 59; second++) {
    away("the watch ended");
    away("etcd at http://127.0.0.1:1 is not reached");
    world.time.advance(1_000);
  }
  expect(said).toHaveLength(1);
  world.time.advance(2_000);
  away("no answer");
  expect(said).toHaveLength(2);
  trouble.over();
  away("no answer");
  expect(said).toHaveLength(3);
  trouble.tell(new EtcdError("refused", "none", "etcd: permission denied"));
  expect(said.at(-1)).toContain("CLUSTER: etcd: permission denied");
});

test("an etcd that is not reached is said without advice to programmers", async () => {
  const etcd = new EtcdHttp({ endpoints: ["http://127.0.0.1:1"], callLimitMs: 1_000 });
  const { message } = (await etcd.get("/a")) as EtcdError;
  expect(message).toStartWith("etcd at http://127.0.0.1:1 is not reached: ");
  expect(message).not.toContain("?");
  expect(message).not.toContain("fetch()");
});
