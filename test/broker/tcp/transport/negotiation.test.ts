import { describe, expect, test } from "bun:test";
import { lazy } from "../../../../src/base/lazy.ts";
import { certificate, clientTls } from "../../../support/certs/certs.ts";
import { InProcess } from "../../../support/in-process.ts";
import { until } from "../../../support/server.ts";

const TLS = { tlsCert: certificate("server.pem"), tlsKey: certificate("server.key") };

const TRANSPORTS: [string, Record<string, unknown>][] = [
  ["TLS", { tls_v1: true }],
  ["snappy", { snappy: true }],
  ["deflate", { deflate: true }],
  ["TLS and snappy", { tls_v1: true, snappy: true }],
  ["TLS and deflate", { tls_v1: true, deflate: true, deflate_level: 1 }],
];

/** Compressible text of any length, never the same twice. */
function text(bytes: number, seed: number): Buffer {
  const line = JSON.stringify({ seed, event: "page_view", url: `/products/${seed * 7919}`, agent: "Mozilla/5.0 (X11; Linux x86_64)" });
  return Buffer.from(line.repeat(Math.ceil(bytes / line.length)).slice(0, bytes));
}

describe.each(TRANSPORTS)("over %s", (_name, identity) => {
  test("messages of any size go both ways unchanged and in order", async () => {
    await using started = InProcess.start(TLS);
    const bodies = [1, 10, 200, 4096, 70_000, 1024 * 1024, 3].map((bytes, i) => text(bytes, i));
    const producer = await started.client();
    await producer.negotiate(identity, clientTls());
    for (const body of bodies) producer.command("PUB t", body);
    for (const _ of bodies) expect(await producer.response()).toBe("OK");
    producer.mpub("t", bodies.slice(0, 5));
    expect(await producer.response()).toBe("OK");

    const consumer = await started.client();
    await consumer.negotiate(identity, clientTls());
    await consumer.call("SUB t ch");
    consumer.command("RDY 100");
    for (const body of [...bodies, ...bodies.slice(0, 5)]) {
      const message = await consumer.message();
      expect(message.data.equals(body)).toBeTrue();
      consumer.command(`FIN ${message.id}`);
    }
    await until("all are finished", () => started.broker.registry.topics.get("t")?.channels.get("ch")?.inFlightCount === 0);
  });

  test("a client that does not read delays only itself, and gets everything once it reads", async () => {
    await using started = InProcess.start(TLS);
    const count = 3000;
    const consumer = await started.client();
    await consumer.negotiate(identity, clientTls());
    await consumer.call("SUB t ch");
    const other = await started.consumer("t", "other", 1, {});
    const producer = await started.client();
    const bodies = Array.from({ length: count }, (_, i) => Buffer.concat([Buffer.from(`${i} `), random(4000, i)]));
    for (let i = 0; i < count; i += 100) {
      producer.mpub("t", bodies.slice(i, i + 100));
      await producer.response();
    }
    consumer.pause();
    consumer.command("RDY 2500");
    await until("nothing more is taken", () => started.broker.registry.topics.get("t")?.channels.get("ch")?.consumers[0]?.capacity === 0);
    expect((await other.message()).text).toStartWith("0 ");
    consumer.resume();
    for (let i = 0; i < count; i++) {
      const message = await consumer.message();
      if (!message.data.equals(bodies[i] as Buffer)) throw new Error(`message ${i} is not itself`);
      consumer.command(`FIN ${message.id}`);
    }
  });
});

test("snappy is not offered if its native module cannot be loaded, which is logged", async () => {
  const whole = Object.getOwnPropertyDescriptor(lazy, "snappy") as PropertyDescriptor;
  Object.defineProperty(lazy, "snappy", {
    configurable: true,
    get: () => {
      throw new Error("no room to unpack it");
    },
  });
  try {
    await using started = InProcess.start();
    for (let i = 0; i < 2; i++) {
      const client = await started.client();
      expect((await client.negotiate({ snappy: true })).snappy).toBeFalse();
      expect(await client.call("PUB t", "x")).toBe("OK");
    }
    expect(started.log.matching(/snappy cannot be offered: no room to unpack it/)).toHaveLength(1);
  } finally {
    Object.defineProperty(lazy, "snappy", whole);
  }
});

/** Incompressible bytes. */
function random(bytes: number, seed: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let state = seed + 1;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    buffer[i] = state >>> 16;
  }
  return buffer;
}
