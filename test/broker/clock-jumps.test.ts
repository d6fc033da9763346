import { afterEach, expect, spyOn, test } from "bun:test";
import { InProcess } from "../support/in-process.ts";
import { until } from "../support/server.ts";

const HOUR_MS = 3_600_000;
const realNow = Date.now.bind(Date);
/** Messages come this much early at most: clocks are rounded. */
const EARLY_MS = 5;

let wall: ReturnType<typeof spyOn<DateConstructor, "now">> | undefined;

/** Sets the wall clock of this process, and of the broker in it, from now on. */
function setWallClock(byMs: number): void {
  wall?.mockRestore();
  wall = spyOn(Date, "now").mockImplementation(() => realNow() + byMs);
}

afterEach(() => {
  wall?.mockRestore();
  wall = undefined;
});

for (const [direction, jumpMs] of [
  ["forward", HOUR_MS],
  ["back", -HOUR_MS],
] as const) {
  test(`a wall clock set ${direction} by an hour neither brings deferred messages at once nor keeps them, over a restart too`, async () => {
    await using server = InProcess.start();
    const consumer = await server.consumer("t", "c", 10);
    const producer = await server.client();
    const began = performance.now();
    const delays = { short: 200, soon: 700, "after the restart": 2_500 };
    for (const [body, delayMs] of Object.entries(delays)) expect(await producer.call(`DPUB t ${delayMs}`, body)).toBe("OK");
    await producer.call("PUB t", "requeued");
    const requeued = await consumer.message();
    consumer.command(`REQ ${requeued.id} 2500`);
    await producer.call("PUB t", "held");
    const held = await consumer.message();
    setWallClock(jumpMs);
    for (const body of ["short", "soon"] as const) {
      const message = await consumer.message();
      expect(message.text).toBe(body);
      expect(performance.now() - began).toBeGreaterThan(delays[body] - EARLY_MS);
      consumer.command(`FIN ${message.id}`);
    }
    // What is stamped now has the wall clock's new time.
    await producer.call("PUB t", "now");
    const stamped = await consumer.message();
    expect(Math.abs(Number(stamped.timestampNs / 1_000_000n) - Date.now())).toBeLessThan(60_000);
    consumer.command(`FIN ${stamped.id}`);
    // Nobody was taken for dead, and what is in flight has not timed out.
    expect(server.broker.listener.connections.size).toBe(2);
    consumer.command(`FIN ${held.id}`);
    expect(await producer.call("PUB other", "barrier")).toBe("OK");
    await until("the broker remembers the jump", () => server.log.matching(/CLOCK: the wall clock was set/).length === 1);

    await server.restart();
    const again = await server.consumer("t", "c", 10);
    const came: string[] = [];
    while (came.length < 2) {
      const message = await again.message();
      came.push(message.text);
      expect(performance.now() - began).toBeGreaterThan(2_500 - EARLY_MS);
      again.command(`FIN ${message.id}`);
    }
    expect(came.sort()).toEqual(["after the restart", "requeued"]);
  });
}
