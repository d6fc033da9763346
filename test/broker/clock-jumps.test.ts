import { expect, test } from "bun:test";
import { messageAfter } from "../support/due.ts";
import { expectNothing, InProcess } from "../support/in-process.ts";
import { until } from "../support/server.ts";
import { SteppedClock } from "../support/stepped-clock.ts";

const HOUR_MS = 3_600_000;

for (const [direction, jumpMs] of [
  ["forward", HOUR_MS],
  ["back", -HOUR_MS],
] as const) {
  test(`a wall clock set ${direction} by an hour neither brings deferred messages at once nor keeps them, over a restart too`, async () => {
    const clock = new SteppedClock();
    await using server = InProcess.start({}, { clock });
    const consumer = await server.consumer("t", "c", 10);
    const producer = await server.client();
    const began = clock.steadyMs();
    const left = (delayMs: number) => began + delayMs - clock.steadyMs();
    const delays = { short: 200, soon: 700, "after the restart": 2_500 };
    for (const [body, delayMs] of Object.entries(delays)) expect(await producer.call(`DPUB t ${delayMs}`, body)).toBe("OK");
    await producer.call("PUB t", "requeued");
    const requeued = await consumer.message();
    consumer.command(`REQ ${requeued.id} 2500`);
    await producer.call("PUB t", "held");
    const held = await consumer.message();
    clock.setWallClock(jumpMs);
    for (const body of ["short", "soon"] as const) {
      const message = await messageAfter(clock, left(delays[body]), consumer);
      expect(message.text).toBe(body);
      consumer.command(`FIN ${message.id}`);
    }
    // What is stamped now has the wall clock's new time.
    await producer.call("PUB t", "now");
    const stamped = await consumer.message();
    expect(Number(stamped.timestampNs / 1_000_000n)).toBe(clock.wallMs());
    consumer.command(`FIN ${stamped.id}`);
    // Nobody was taken for dead, and what is in flight has not timed out.
    expect(server.broker.listener.connections.size).toBe(2);
    consumer.command(`FIN ${held.id}`);
    expect(await producer.call("PUB other", "barrier")).toBe("OK");
    await until("the broker remembers the jump", () => server.log.matching(/CLOCK: the wall clock was set/).length === 1);

    await server.restart();
    const again = await server.consumer("t", "c", 10);
    const came: string[] = [];
    await clock.pass(left(2_499));
    await expectNothing(again);
    await clock.pass(6);
    while (came.length < 2) {
      const message = await again.message();
      came.push(message.text);
      again.command(`FIN ${message.id}`);
    }
    expect(came.sort()).toEqual(["after the restart", "requeued"]);
  });
}
