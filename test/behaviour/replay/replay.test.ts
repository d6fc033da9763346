import { expect, test } from "bun:test";
import { numbers } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

const PADDING = "x".repeat(150);

/** Takes and finishes all that comes, and notes the bodies' numbers in their order. */
function collect(client: RawClient): number[] {
  const got: number[] = [];
  client.onFrame = (frame) => {
    if (frame.type !== "message") throw new Error(`expected messages, got ${frame.text}`);
    got.push(Number.parseInt(frame.text, 10));
    client.command(`FIN ${frame.id}`);
  };
  return got;
}

test("what one channel has long finished is replayed to a new one from a time on, in order and without a gap", async () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed} (BUNSQ_SEED=${seed} to repeat)`);
  const random = new Random(seed);
  await using server = WithHttp.start({ retentionTimeMs: 3_600_000, maxBytesPerFile: 1024 * 1024 });
  await server.call("POST", "/topic/create?topic=t");
  await server.call("POST", "/channel/create?topic=t&channel=first");
  const producer = await server.started.client();
  /** For each of them, how many messages were published before. */
  const times: [number, number][] = [];
  let published = 0;
  for (let batch = 0; batch < 120; batch++) {
    if (batch % 10 === 0) {
      const now = Date.now() + 1;
      times.push([now, published]);
      await until("a later moment", () => Date.now() > now + 1);
    }
    const count = random.int(1, 900);
    producer.mpub(
      "t",
      numbers(count, published).map((text) => `${text} ${PADDING}`),
    );
    await producer.response();
    published += count;
  }
  const first = collect(await server.started.consumer("t", "first", 2500));
  await until("the first channel is through", () => first.length === published, 20_000);
  await until("all is finished", () => server.broker.registry.topic("t").channel("first").inFlightCount === 0);
  await server.restart();

  for (const [index, [time, before]] of [times[0], random.pick(times), times[times.length - 1]].entries()) {
    const channel = `replay-${index}`;
    await server.call("POST", `/channel/create?topic=t&channel=${channel}&start=time:${time / 1000}`);
    expect(server.broker.registry.topic("t").channel(channel).depth).toBe(published - before);
    const got = collect(await server.started.consumer("t", channel, 2500));
    await until("it is replayed", () => got.length >= published - before, 20_000);
    expect(got.length).toBe(published - before);
    expect(got.findIndex((number, i) => number !== before + i)).toBe(-1);
  }
}, 60_000);
