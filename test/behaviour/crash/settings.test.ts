import { expect, test } from "bun:test";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";

const ROUNDS = 8;
const CHANNELS = ["a", "b", "c"];
const ORDERS = ["none", "key", "partition"];

/** Changes one setting of a channel. @returns whether it was answered 200 */
async function setOrder(server: Server, channel: string, order: string): Promise<boolean> {
  const answer = await server.http("POST", `/channel/create?topic=t&channel=${channel}&ordered=${order}`).catch(() => undefined);
  return answer?.status === 200;
}

async function orderOf(server: Server, channel: string): Promise<string | undefined> {
  const answer = await server.http("GET", `/channel/settings?topic=t&channel=${channel}`);
  return answer.status === 200 ? ((await answer.json()) as { order: string }).order : undefined;
}

test("kill -9 undoes no change of settings that was answered, and one that was not is whole or not there", async () => {
  const seed = seedFromEnvironment();
  const random = Random.forPart(seed, 1);
  console.log(`settings over kill -9: BUNSQ_SEED=${seed}`);
  const dataPath = temporaryFolder();
  /** What each channel's order may be. */
  const possible = new Map<string, Set<string | undefined>>(CHANNELS.map((name) => [name, new Set([undefined])]));
  let server: Server | undefined;
  try {
    for (let round = 0; round < ROUNDS; round++) {
      server = await startServer({ dataPath });
      if (round === 0) expect((await server.http("POST", "/topic/create?topic=t&partition_num=2")).status).toBe(200);
      for (const name of CHANNELS) {
        const order = await orderOf(server, name);
        expect([...(possible.get(name) ?? [])], `round ${round}, channel ${name}`).toContain(order);
        possible.set(name, new Set([order]));
      }
      for (let step = random.int(0, 5); step > 0; step--) {
        const name = random.pick(CHANNELS);
        const order = random.pick(ORDERS);
        expect(await setOrder(server, name, order)).toBeTrue();
        possible.set(name, new Set([order]));
      }
      // A few are under way at the kill.
      const changes = CHANNELS.map((name) => ({ name, order: random.pick(ORDERS) }));
      const [first, ...others] = changes.map(({ name, order }) => {
        possible.get(name)?.add(order);
        // A channel that is new may be there without its setting.
        if (possible.get(name)?.has(undefined)) possible.get(name)?.add("none");
        return setOrder(server as Server, name, order);
      });
      if (random.chance(0.5)) await first;
      await server.stop("SIGKILL");
      const answered = await Promise.all([first, ...others]);
      for (const [i, { name, order }] of changes.entries()) if (answered[i]) possible.set(name, new Set([order]));
    }
  } finally {
    await server?.stop("SIGKILL");
    removeFolder(dataPath);
  }
}, 60_000);
