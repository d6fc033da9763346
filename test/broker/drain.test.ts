import { describe, expect, test } from "bun:test";
import { Drain } from "../../src/broker/drain.ts";
import { expectNothing, InProcess, MemoryLogger, messages } from "../support/in-process.ts";
import { RawClient } from "../support/raw-client.ts";
import { until } from "../support/server.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

/** Begins a drain, and returns once the broker refuses. */
async function drain({ broker }: InProcess, timeoutMs = 60_000): Promise<{ hasEnded(): boolean }> {
  let hasEnded = false;
  broker.drain.onDrained = () => {
    hasEnded = true;
  };
  broker.drain.begin(timeoutMs);
  await until("it refuses", () => broker.publishing.isDraining);
  return { hasEnded: () => hasEnded };
}

describe("a broker that is drained", () => {
  test("delivers nothing more, lets consumers answer what they have, and closes their connections", async () => {
    await using server = InProcess.start();
    await server.publish("t", "1", "2", "3");
    const consumer = await server.consumer("t", "c", 2);
    const [first, second] = await messages(consumer, 2);
    const { hasEnded } = await drain(server);
    expect(server.broker.drain.progress).toMatchObject({ state: "draining", inFlight: 2, consumers: 1, timeoutMs: 60_000 });
    consumer.command("RDY 10");
    consumer.command(`FIN ${first?.id}`);
    await expectNothing(consumer);
    expect(hasEnded()).toBe(false);
    consumer.command(`TOUCH ${second?.id}`);
    consumer.command(`REQ ${second?.id} 0`);
    await consumer.untilClosed();
    consumer.close();
    await until("it has ended", hasEnded);
    expect(server.broker.drain.progress).toMatchObject({ state: "drained", inFlight: 0, consumers: 0 });
    await server.restart();
    const next = await server.consumer("t", "c", 3);
    const rest = await messages(next, 2);
    expect(rest.map(({ text, attempts }) => `${text} ${attempts}`).sort()).toEqual(["2 2", "3 1"]);
  });

  test("answers CLS as ever", async () => {
    await using server = InProcess.start();
    await server.publish("t", "1");
    const consumer = await server.consumer("t", "c", 1);
    const { id } = await consumer.message();
    const { hasEnded } = await drain(server);
    expect(await consumer.call("CLS")).toBe("CLOSE_WAIT");
    consumer.command(`FIN ${id}`);
    await consumer.untilClosed();
    consumer.close();
    await until("it has ended", hasEnded);
  });

  test("refuses clients, consumers and publishes, but for those of a consumer that has messages in flight", async () => {
    await using server = InProcess.start();
    await server.publish("t", "1");
    await server.publish("t#ephemeral", "1");
    const consumer = await server.consumer("t", "c", 1);
    const { id } = await consumer.message();
    const clients = await Promise.all([0, 1, 2, 3, 4].map(() => server.client()));
    const { hasEnded } = await drain(server);
    await expect(RawClient.connect(server.broker.tcpPort)).rejects.toThrow();
    const refusals = await Promise.all(
      ([["SUB t c"], ["PUB t", "x"], ["PUB t#ephemeral", "x"], ["PUB new", "x"], ["MPUB t", "\0\0\0\x01\0\0\0\x01x"]] as const).map(
        async ([line, body], i) => {
          clients[i]?.command(line, body);
          return (await clients[i]?.next())?.text;
        },
      ),
    );
    expect(refusals).toEqual([
      "E_SUB_FAILED SUB failed draining",
      ...Array(3).fill("E_PUB_FAILED PUB failed draining"),
      "E_MPUB_FAILED MPUB failed draining",
    ]);
    expect(server.broker.registry.topics.has("new")).toBe(false);
    // A dead letter, for instance, without which it could not finish its message.
    expect(await consumer.call("PUB t", "2")).toBe("OK");
    consumer.command(`FIN ${id}`);
    await consumer.untilClosed();
    consumer.close();
    for (const client of clients) client.close();
    await until("it has ended", hasEnded);
    await server.restart();
    expect((await (await server.consumer("t", "c", 1)).message()).text).toBe("2");
  });

  test("goes on refusing for the same reason when its disk has room again", async () => {
    await using server = InProcess.start();
    const { publishing } = server.broker;
    publishing.refuseOnDisk(new Error("full"));
    await drain(server);
    publishing.refuseOnDisk(undefined);
    expect(publishing.refusal?.message).toBe("draining");
  });
});

describe("a drain", () => {
  function stand(inFlightCount: number) {
    const clock = new SimulatedClock(0);
    const did: string[] = [];
    const connection = {
      inFlightCount,
      channel: {} as object | undefined,
      set readyCount(count: number) {
        did.push(`RDY ${count}`);
      },
      closeGracefully: () => {
        did.push("close");
        connection.channel = undefined;
      },
    };
    const drain = new Drain({
      publishing: { startDraining: () => did.push("refuse") },
      listener: { connections: new Map([[1, connection]]), stop: () => did.push("stop listening") },
      turn: { readClock: () => {} },
      logger: new MemoryLogger(),
      clock,
    });
    drain.tellLookups = async () => void did.push("tell lookups");
    drain.onDrained = () => did.push("end");
    return { clock, did, connection, drain };
  }
  const BEGINNING = ["tell lookups", "refuse", "stop listening", "RDY 0"];

  test("tells the lookups first, and ends at its bound though messages are in flight", async () => {
    const { clock, did, drain } = stand(3);
    drain.begin(2_000);
    drain.begin(0);
    await Promise.resolve();
    expect(did).toEqual(BEGINNING);
    clock.advance(1_999);
    expect(did).toEqual(BEGINNING);
    clock.advance(100);
    expect(did).toEqual([...BEGINNING, "end"]);
    expect(drain.progress).toMatchObject({ state: "drained", inFlight: 3, timeoutMs: 2_000 });
  });

  test("gives clients without messages in flight a second to leave", async () => {
    const { clock, did, connection, drain } = stand(1);
    drain.begin(60_000);
    await Promise.resolve();
    clock.advance(5_000);
    connection.inFlightCount = 0;
    clock.advance(900);
    expect(did).toEqual([...BEGINNING, "close"]);
    clock.advance(300);
    expect(did).toEqual([...BEGINNING, "close", "end"]);
  });

  test("waits no longer once the broker is closed", async () => {
    const { clock, did, drain } = stand(1);
    drain.begin(1_000);
    await Promise.resolve();
    drain.stop();
    clock.advance(10_000);
    expect(did).toEqual(BEGINNING);
  });
});
