import { expect, test } from "bun:test";
import { Consumer, Producer } from "../../src/client/bun.ts";
import type { Transport } from "../../src/client/transport.ts";
import { bunTransport } from "../../src/client/transports/bun.ts";
import { nodeTransport } from "../../src/client/transports/node.ts";
import { encodeFrame } from "../../src/frame/frame.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { until } from "../support/server.ts";

const SEED = seedFromEnvironment();
const REPLIES = 600;

/** What a broker that is broken may send. */
function anything(random: Random): Buffer {
  const text = random.pick([
    "OK",
    "_heartbeat_",
    "CLOSE_WAIT",
    "{}",
    '{"max_rdy_count":-5,"msg_timeout":"x","tls_v1":null}',
    '{"snappy":true}',
    '{"deflate":true}',
    '{"idempotency":true,"auth_required":true}',
    "[1,2",
    "null",
    "E_INVALID",
    "E_FIN_FAILED FIN 0000 failed",
    "E_BAD_MESSAGE PUB message too big",
    "",
    "\0".repeat(random.int(0, 40)),
  ]);
  if (random.chance(0.1)) return Buffer.from(Array.from({ length: random.int(1, 50) }, () => random.int(0, 255)));
  return encodeFrame(random.chance(0.05) ? random.int(3, 300) : random.int(0, 2), text);
}

for (const [name, transport] of [
  ["Bun", bunTransport],
  ["Node", nodeTransport],
] as [string, Transport][]) {
  test(`whatever a broker sends, nothing is thrown outside of a call, with the sockets of ${name}`, async () => {
    console.log(`seed of the broker: ${SEED}`);
    const random = new Random(SEED);
    const unhandled: unknown[] = [];
    const onUnhandled = (error: unknown) => void unhandled.push(error);
    process.on("unhandledRejection", onUnhandled).on("uncaughtException", onUnhandled);
    let replies = 0;
    const server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data: (socket) => {
          replies++;
          // The first answer is good often enough to get further.
          const first = random.chance(0.7) ? encodeFrame(0, "{}") : anything(random);
          socket.write(Buffer.concat([first, encodeFrame(0, "OK"), ...Array.from({ length: random.int(0, 4) }, () => anything(random))]));
          if (random.chance(0.1)) socket.terminate();
        },
        error: () => {},
      },
    });
    const options = { brokers: [`127.0.0.1:${server.port}`], maxReconnectMs: 1, connectTimeoutMs: 20, transport, authSecret: "x" };
    const producer = new Producer({ ...options, timeoutMs: 50, retry: random.pick(["safe", "always", "never"]) });
    const consumer = new Consumer({
      ...options,
      topic: "t",
      channel: "c",
      deadLetterTopic: "d",
      backoff: false,
      touch: "auto",
      requeueDelayMs: 0,
    });
    void consumer.run((message) => {
      if (random.chance(0.3)) throw new Error("a handler's");
      return random.chance(0.5) ? message.text() : Promise.reject(new Error("another handler's"));
    });
    let outcomes = 0;
    let published = 0;
    await until(
      "many replies",
      () => {
        if (published - outcomes < 20) {
          published++;
          producer.publish("t", "x").then(
            () => outcomes++,
            () => outcomes++,
          );
        }
        return replies > REPLIES;
      },
      30_000,
    );
    await producer.close({ drainMs: 10 });
    await consumer.close({ drainMs: 10 });
    await until("every publish has its outcome", () => outcomes === published);
    expect(unhandled).toEqual([]);
    expect(consumer.inFlight).toBe(0);
    server.stop(true);
    process.off("unhandledRejection", onUnhandled).off("uncaughtException", onUnhandled);
  }, 90_000);
}
