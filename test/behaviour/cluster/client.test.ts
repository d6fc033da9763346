import { expect, test } from "bun:test";
import { BrokerClient, Consumer, Producer } from "../../../src/client/bun.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { until } from "../../support/server.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 90_000;
const AT_ONCE = 20;
const BEFORE = 300;
const AFTER = 300;

describeUnless(missing("etcd"))("our client and three brokers", () => {
  test(
    "the leader is killed while messages are published: each is in the log once, none was refused, and the consumer gets on with the next one",
    async () => {
      await using cluster = await ThreeBrokers.start(["--retention-time=1h"]);
      const brokers = cluster.brokers.map(({ tcpPort }) => `127.0.0.1:${tcpPort}`);
      const duplicates: string[] = [];
      const producer = new Producer({
        brokers,
        onEvent: (event) => {
          if (event.type === "maybe-duplicated") duplicates.push(event.from);
        },
      });
      await producer.publish(TOPIC, "made");
      const leader = await cluster.leader();
      await cluster.untilInSync(leader);
      const seen = new Set<string>();
      const consumer = new Consumer({ brokers, topic: TOPIC, channel: "c", maxInFlight: 100 });
      void consumer.run((message) => void seen.add(message.text()));
      await consumer.ready();
      const published: string[] = [];
      let next = 0;
      let killed: Promise<unknown> | undefined;
      const publishSome = async () => {
        while (next < BEFORE + AFTER) {
          const body = `${next++}`;
          if (next === BEFORE) killed = cluster.broker(leader).stop("SIGKILL");
          const { mayBeDuplicate } = await producer.publish(TOPIC, body);
          expect(mayBeDuplicate).toBe(false);
          published.push(body);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, publishSome));
      await killed;
      expect(published.length).toBe(BEFORE + AFTER);
      expect(duplicates).toEqual([]);
      const others = [0, 1, 2].filter((index) => index !== leader);
      const { httpPort } = cluster.broker(await cluster.leader(others));
      const logged: unknown[] = [];
      for await (const { body } of new BrokerClient(`127.0.0.1:${httpPort}`).messages(TOPIC, { format: "text", from: "beginning" }))
        logged.push(body);
      expect(logged.sort()).toEqual(["made", ...published].sort());
      await until("all are consumed", () => seen.size === published.length + 1);
      await producer.close();
      await consumer.close();
    },
    LIMIT_MS,
  );
});
