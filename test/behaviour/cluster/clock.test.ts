import { expect, test } from "bun:test";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { SetClocks } from "./support/set-clock.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 120_000;
const HOUR_MS = 3_600_000;
/** What a clock is ahead, one after the other: jumps of an hour and of 10 s, both ways from where it belongs and back. */
const AHEAD_MS = [HOUR_MS, 0, -HOUR_MS, 0, 10_000, 0, -10_000, 0];
const DELAY_MS = 1_000;
/** Timers may be a little early, by the clock of another process. */
const EARLY_MS = 20;
/** A machine that stalls is no reason to change the leader: only clocks would be. */
const PATIENT = ["--cluster-suspect=20s", "--cluster-lag=20s", "--cluster-lease=20s"];

/** Three brokers whose clocks can be set, with a topic and a channel `c`. */
class ClockedBrokers implements AsyncDisposable {
  /** When each body came last, ms of this process; a message whose body says so is requeued once. */
  readonly cameMs = new Map<string, number>();
  readonly requeuedMs = new Map<string, number>();
  private constructor(
    readonly cluster: ThreeBrokers,
    readonly clocks: SetClocks,
    readonly leader: number,
  ) {}

  static async start(flags: readonly string[] = []): Promise<ClockedBrokers> {
    const clocks = SetClocks.make(3);
    const cluster = await ThreeBrokers.start(
      flags,
      clocks.clocks.map(({ prefix }) => prefix),
    );
    const leader = await cluster.makeTopic();
    expect((await cluster.broker(leader).http("POST", `/channel/create?topic=${TOPIC}&channel=c`)).status).toBe(200);
    return new ClockedBrokers(cluster, clocks, leader);
  }

  async publish(index: number, body: string, delayMs = 0): Promise<void> {
    const client = await RawClient.connect(this.cluster.broker(index).tcpPort);
    expect(await client.call(delayMs === 0 ? `PUB ${TOPIC}` : `DPUB ${TOPIC} ${delayMs}`, body)).toBe("OK");
    client.close();
  }

  /** Takes what comes, until the broker or the client is gone. */
  async consume(index: number): Promise<RawClient> {
    const client = await RawClient.connect(this.cluster.broker(index).tcpPort);
    expect(await client.call(`SUB ${TOPIC} c`)).toBe("OK");
    client.onFrame = ({ type, id, data, attempts }) => {
      if (type !== "message") return;
      const body = data.toString();
      this.cameMs.set(body, performance.now());
      if (!body.startsWith("requeued") || attempts > 1) return client.command(`FIN ${id}`);
      this.requeuedMs.set(body, performance.now());
      client.command(`REQ ${id} ${DELAY_MS}`);
    };
    client.command("RDY 100");
    return client;
  }

  /** @param sinceMs it must not come before its delay has passed */
  async untilCame(body: string, sinceMs: number): Promise<void> {
    await until(`${body} comes`, () => (this.cameMs.get(body) ?? 0) > sinceMs);
    expect((this.cameMs.get(body) as number) - sinceMs).toBeGreaterThan(DELAY_MS - EARLY_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    this.clocks[Symbol.dispose]();
  }
}

describeUnless(missing("etcd", "cc"))("the clock of one of three brokers is set", () => {
  for (const role of ["leads", "follows"]) {
    test(
      `one that ${role} goes on: all is acknowledged and delivered, what is deferred comes when it would have, and nobody takes over`,
      async () => {
        await using brokers = await ClockedBrokers.start(PATIENT);
        const { cluster, clocks, leader } = brokers;
        const target = role === "leads" ? leader : (leader + 1) % 3;
        const before = await cluster.replicaAt(leader);
        const client = await brokers.consume(leader);
        for (const [i, aheadMs] of AHEAD_MS.entries()) {
          await brokers.publish(leader, `requeued ${i}`);
          await until("it is requeued", () => brokers.requeuedMs.has(`requeued ${i}`));
          const deferredMs = performance.now();
          await brokers.publish(leader, `deferred ${i}`, DELAY_MS);
          clocks.set(target, aheadMs);
          await brokers.publish(leader, `behind ${i}`);
          const behindMs = performance.now();
          await brokers.publish(leader, `deferred behind ${i}`, DELAY_MS);
          await until("what was published comes", () => brokers.cameMs.has(`behind ${i}`));
          await brokers.untilCame(`requeued ${i}`, brokers.requeuedMs.get(`requeued ${i}`) as number);
          await brokers.untilCame(`deferred ${i}`, deferredMs);
          await brokers.untilCame(`deferred behind ${i}`, behindMs);
        }
        const after = await cluster.replicaAt(leader);
        expect(after).toMatchObject({ role: "leader", epoch: before?.epoch as number });
        expect([...(after?.in_sync ?? [])].sort()).toEqual([...(before?.in_sync ?? [])].sort());
        expect(
          cluster
            .broker(target)
            .log()
            .match(/wall clock was set/g)?.length,
        ).toBe(AHEAD_MS.length);
        client.close();
      },
      LIMIT_MS,
    );
  }

  for (const aheadMs of [HOUR_MS, -HOUR_MS]) {
    test(
      `one that leads is killed with its clock ${aheadMs > 0 ? "an hour ahead" : "an hour behind"}: what was deferred before comes on time from another one`,
      async () => {
        await using brokers = await ClockedBrokers.start();
        const { cluster, clocks, leader } = brokers;
        await brokers.consume(leader);
        await brokers.publish(leader, "requeued");
        await until("it is requeued", () => brokers.requeuedMs.has("requeued"));
        const deferredMs = performance.now();
        await brokers.publish(leader, "deferred", DELAY_MS);
        clocks.set(leader, aheadMs);
        for (let i = 0; i < 20; i++) await brokers.publish(leader, `behind ${i}`);
        await cluster.broker(leader).stop("SIGKILL");
        const second = await cluster.leader([0, 1, 2].filter((index) => index !== leader));
        const client = await brokers.consume(second);
        await brokers.untilCame("deferred", deferredMs);
        await brokers.untilCame("requeued", brokers.requeuedMs.get("requeued") as number);
        await until("all comes", () => Array.from({ length: 20 }, (_, i) => i).every((i) => brokers.cameMs.has(`behind ${i}`)));
        // It comes back by the clock that it was killed with, and that is set right when it is there.
        await cluster.startBroker(leader);
        await cluster.untilInSync(second);
        clocks.set(leader, 0);
        await brokers.publish(second, "last");
        await until("the last one comes", () => brokers.cameMs.has("last"));
        client.close();
      },
      LIMIT_MS,
    );
  }

  test(
    "what is deferred by a clock that is ahead comes late by that much from another broker, and is not lost",
    async () => {
      await using brokers = await ClockedBrokers.start();
      const { cluster, clocks, leader } = brokers;
      clocks.set(leader, 5_000);
      const deferredMs = performance.now();
      await brokers.publish(leader, "deferred", DELAY_MS);
      await cluster.broker(leader).stop("SIGKILL");
      const second = await cluster.leader([0, 1, 2].filter((index) => index !== leader));
      const client = await brokers.consume(second);
      await brokers.untilCame("deferred", deferredMs);
      client.close();
    },
    LIMIT_MS,
  );
});
