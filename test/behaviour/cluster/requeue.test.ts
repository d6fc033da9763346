import { expect, test } from "bun:test";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 60_000;
const DELAY_MS = 3_000;
/** Timers may be a little early, by the clock of another process. */
const EARLY_MS = 20;
const EACH = 20;

interface Came {
  readonly attempts: number;
  readonly atMs: number;
}

/** Bodies of several kinds: "delayed 0", "delayed 1" …, "again 0" … */
function bodies(...kinds: string[]): string[] {
  return kinds.flatMap((kind) => Array.from({ length: EACH }, (_, i) => `${kind} ${i}`));
}

async function publish(port: number, delayMs: number, all: readonly string[]): Promise<void> {
  const client = await RawClient.connect(port);
  for (const body of all) expect(await client.call(delayMs === 0 ? `PUB ${TOPIC}` : `DPUB ${TOPIC} ${delayMs}`, body)).toBe("OK");
  client.close();
}

/** Takes what comes. @param commands what is done with a delivery, FIN or REQ, with their parameters behind the id; undefined: nothing yet */
async function consume(port: number, commands: (body: string, attempts: number) => string[] | undefined): Promise<Map<string, Came[]>> {
  const client = await RawClient.connect(port);
  expect(await client.call(`SUB ${TOPIC} c`)).toBe("OK");
  const came = new Map<string, Came[]>();
  client.onFrame = ({ type, id, data, attempts }) => {
    if (type !== "message") return;
    const body = data.toString();
    came.set(body, [...(came.get(body) ?? []), { attempts, atMs: performance.now() }]);
    const [name, ...rest] = commands(body, attempts) ?? [];
    if (name !== undefined) client.command([name, id, ...rest].join(" "));
  };
  client.command("RDY 500");
  return came;
}

describeUnless(missing("etcd"))("three brokers and etcd", () => {
  for (const durability of ["write", "fsync"]) {
    test(
      `${durability}: what was requeued or deferred is there after its leader was killed, not before its time, and its attempts go on`,
      async () => {
        await using cluster = await ThreeBrokers.start([`--durability=${durability}`]);
        const first = await cluster.makeTopic();
        const broker = cluster.broker(first);
        const post = async (call: string) =>
          expect((await broker.http("POST", `/channel/${call}?topic=${TOPIC}&channel=c`)).status).toBe(200);
        await post("create");
        const before = await consume(broker.tcpPort, (body, attempts) => {
          if (body.startsWith("finished")) return ["FIN"];
          if (body.startsWith("delayed")) return attempts === 2 ? ["REQ", `${DELAY_MS}`] : ["REQ", "0"];
          // The third time they stay in flight.
          return attempts < 3 ? ["REQ", "0"] : undefined;
        });
        await publish(broker.tcpPort, 0, bodies("finished", "delayed", "flying"));
        const deferredMs = performance.now();
        await publish(broker.tcpPort, DELAY_MS, bodies("deferred"));
        await until("all came as often as they are to", () => {
          const attempts = (body: string) => before.get(body)?.at(-1)?.attempts ?? 0;
          return bodies("delayed").every((body) => attempts(body) === 2) && bodies("flying").every((body) => attempts(body) === 3);
        });
        // What consumers do is saved some times a second; each of these saves it now, and is answered when the others have it.
        for (const call of ["pause", "unpause"]) await post(call);
        await broker.stop("SIGKILL");

        const second = await cluster.leader([0, 1, 2].filter((index) => index !== first));
        const after = await consume(cluster.broker(second).tcpPort, () => ["FIN"]);
        await until("the rest comes", () => bodies("delayed", "flying", "deferred").every((body) => after.has(body)));
        expect([...after.keys()].sort()).toEqual(bodies("delayed", "flying", "deferred").sort());
        for (const [kind, attempts] of Object.entries({ delayed: 3, flying: 4, deferred: 1 }))
          expect(bodies(kind).map((body) => after.get(body)?.map((came) => came.attempts))).toEqual(bodies(kind).map(() => [attempts]));
        for (const body of bodies("delayed"))
          expect((after.get(body)?.[0]?.atMs ?? 0) - (before.get(body)?.[1]?.atMs ?? 0)).toBeGreaterThan(DELAY_MS - EARLY_MS);
        for (const body of bodies("deferred")) expect((after.get(body)?.[0]?.atMs ?? 0) - deferredMs).toBeGreaterThan(DELAY_MS - EARLY_MS);
      },
      LIMIT_MS,
    );
  }

  test(
    "what is requeued while its leader is being killed comes again: nothing is lost, and its attempts are what was saved last at least",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const first = await cluster.makeTopic();
      const { tcpPort, stop } = cluster.broker(first);
      expect((await cluster.broker(first).http("POST", `/channel/create?topic=${TOPIC}&channel=c`)).status).toBe(200);
      const kinds = Array.from({ length: 10 }, (_, i) => `delayed ${i}`);
      const before = await consume(tcpPort, () => ["REQ", `${DELAY_MS / 10}`]);
      await publish(tcpPort, 0, bodies(...kinds));
      await until("all are requeued again and again", () => bodies(...kinds).every((body) => (before.get(body)?.length ?? 0) > 2));
      await stop("SIGKILL");
      const second = await cluster.leader([0, 1, 2].filter((index) => index !== first));
      const after = await consume(cluster.broker(second).tcpPort, () => ["FIN"]);
      await until("all come again", () => bodies(...kinds).every((body) => after.has(body)));
      for (const [body, came] of after) {
        const last = before.get(body)?.at(-1)?.attempts ?? 0;
        // One that is not saved yet, and the one before if that was saved late.
        expect(came[0]?.attempts).toBeGreaterThanOrEqual(last - 1);
        expect(came[0]?.attempts).toBeLessThanOrEqual(last + 1);
      }
    },
    LIMIT_MS,
  );
});
