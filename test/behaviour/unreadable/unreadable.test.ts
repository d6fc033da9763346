import { describe, expect, test } from "bun:test";
import type { ScriptedFailure } from "../../support/flaky-disk.ts";
import { numbers } from "../../support/in-process.ts";
import { CHANNEL, Site } from "../../support/site.ts";

// A read, an opening, a measuring or a listing that fails says nothing about what is in a file: nothing is lost, skipped, cut off
// or removed because of it, it is said what waits, and all goes on when the disk can be read again.

/** Topics with a message each that only the journal has. */
const JOURNALED = ["j1", "j2", "j3", "j4", "j5"];
const BACKLOG = numbers(80).map((number) => `${number} ${"x".repeat(150)}`);
const CODES = ["EIO", "EMFILE", "ENFILE", "ESTALE", "EACCES", "ENOMEM"];

/** A data path as a kill leaves it, with every kind of file; and what is owed to consumers, by topic. */
async function leftBehind(): Promise<{ site: Site; owed: Map<string, string[]> }> {
  await using first = Site.empty();
  for (const topic of ["a", "b", ...JOURNALED]) first.broker.registry.topic(topic).channel(CHANNEL);
  for (const body of BACKLOG) await first.publish("a", body);
  await first.publish("b", "of b");
  await first.publish("a", "with a key", 0, "key");
  const late = ["in 3 s", "in 5 s", "in 90 s"];
  for (const [i, body] of late.entries()) await first.publish("a", body, [3000, 5000, 90_000][i]);
  const { channel, consumer } = first.subscribe("a", 20);
  await first.until(() => consumer.deliveries.length === 20);
  const finished = new Set<string>();
  // Finished messages between others, and one that comes again after a delay. The rest comes again at once.
  const taken = consumer.deliveries.splice(0);
  for (const [i, { sequence, body }] of taken.entries()) {
    if (i >= 18) channel.partitions[0].requeue(consumer, sequence, 4000);
    else if (i % 5 !== 0 && channel.partitions[0].finish(consumer, sequence) === undefined) finished.add(body);
  }
  // One of the two is done with, which its bucket's status records say.
  await first.pass(1000);
  const last = taken[19];
  if (last === undefined) throw new Error("20 were taken");
  await first.wait(first.broker.messageControl.finish(channel.partitions[0], last.sequence));
  finished.add(last.body);
  consumer.readyCount = 0;
  channel.removeConsumer(consumer);
  await first.pass(1000);
  // In one turn, so that they go to the journal.
  const published = JOURNALED.map((topic) =>
    first.broker.publishing.publish(first.broker.registry.topic(topic).partitions[0], "", Buffer.from(`of ${topic}`), 0),
  );
  first.clock.endTurn();
  await Promise.all(published);
  const owed = new Map([
    ["a", [...BACKLOG, "with a key", ...late].filter((body) => !finished.has(body)).sort()],
    ["b", ["of b"]],
    ...JOURNALED.map((topic): [string, string[]] => [topic, [`of ${topic}`]]),
  ]);
  return { site: first.killed(), owed };
}

interface Kind {
  name: string;
  path: RegExp;
  calls: ScriptedFailure["calls"];
  /** Topics that must not wait for it. */
  others: readonly string[];
  /** Nothing waits: the broker does without it. */
  dispensable?: true;
  /** How long it fails, ms, if not FAILING_MS. */
  failingMs?: number;
}

const AT_WORK: Kind[] = [
  { name: "a segment", path: /-a\/[0-9a-f]{16}\.log$/, calls: ["open", "read"], others: ["b", ...JOURNALED] },
  { name: "an index", path: /-a\/[0-9a-f]{16}\.idx$/, calls: ["open", "read"], others: ["b", ...JOURNALED] },
  { name: "a bucket", path: /deferred\/\d+-\d+\.msg$/, calls: ["open", "read"], others: ["b", ...JOURNALED] },
  { name: "a wide bucket", path: /deferred\/\d+-64000\.msg$/, calls: ["open", "read"], others: ["b", ...JOURNALED], failingMs: 70_000 },
  { name: "status records", path: /deferred\/\d+-\d+\.done$/, calls: ["open", "read", "size"], others: ["b", ...JOURNALED] },
];

const AT_START: Kind[] = [
  ...AT_WORK.map((kind): Kind => ({ ...kind, calls: kind.path.source.includes("log") ? kind.calls : ["open", "read", "size"] })),
  { name: "the journal", path: /bunsq-data\/journal$/, calls: ["open", "read", "size"], others: [] },
  { name: "the folder of all topics", path: /bunsq-data\/topics$/, calls: ["list"], others: [] },
  { name: "a topic's folder", path: /topics\/\d{5}-a$/, calls: ["list"], others: ["b", ...JOURNALED] },
  { name: "the folder of buckets", path: /bunsq-data\/deferred$/, calls: ["list"], others: ["b", ...JOURNALED] },
  { name: "keys", path: /keys\/\d+\.keys$/, calls: ["open", "read", "size"], others: ["b", ...JOURNALED] },
  { name: "the folder of keys", path: /bunsq-data\/keys$/, calls: ["list"], others: ["b", ...JOURNALED] },
  {
    name: "the backup of the metadata store",
    path: /catalogue\.copy$/,
    calls: ["open", "read", "size"],
    others: ["b"],
    dispensable: true,
  },
  { name: "the folder of recycled segments", path: /bunsq-data\/recycled$/, calls: ["list"], others: ["b"], dispensable: true },
];

/** How many calls fail before the disk works again. */
const DURATIONS = { once: 1, "some times": 5, "until it is mended": Number.POSITIVE_INFINITY };
/** How long calls fail that fail until they are mended. */
const FAILING_MS = 12_000;

for (const [moment, kinds] of [["at work", AT_WORK] as const, ["at the start", AT_START] as const]) {
  describe(moment, () => {
    for (const { name, path, calls, others, dispensable, failingMs = FAILING_MS } of kinds) {
      for (const [j, call] of calls.entries()) {
        for (const [i, [duration, times]] of Object.entries(DURATIONS).entries()) {
          const code = CODES[(i + j + name.length) % CODES.length] as string;
          test(`${name}: ${call} fails ${duration}`, async () => {
            const { site, owed } = await leftBehind();
            await using _ = site;
            const failure = { path, calls: [call], code, times };
            if (moment === "at work") site.open();
            site.fail(failure);
            if (moment === "at the start") site.open();
            for (const topic of owed.keys()) if (site.broker.registry.topics.has(topic)) site.consume(topic);
            if (times === Number.POSITIVE_INFINITY) {
              const readsBefore = site.disk.reads;
              let named = "";
              await site.until(() => {
                if (named === "" && site.health.startsWith("NOK")) named = site.health;
                return site.clock.steadyMs() > failingMs;
              });
              expect(site.disk.scripted).toBeGreaterThan(0);
              if (dispensable !== true) {
                expect(site.health).toContain(code);
                expect(named).toMatch(new RegExp(`${path.source.replaceAll("$", "")}`));
              }
              expect(site.disk.reads - readsBefore).toBeLessThan(2000);
              for (const topic of others) expect(site.delivered.get(topic)?.sort()).toEqual(owed.get(topic) ?? []);
              site.heal();
            }
            await site.until(() => {
              for (const topic of owed.keys()) {
                if (!site.delivered.has(topic) && site.broker.registry.topics.has(topic)) site.consume(topic);
              }
              return [...owed].every(([topic, bodies]) => (site.delivered.get(topic)?.length ?? 0) >= bodies.length);
            });
            await site.until(() => site.health === "OK");
            await site.pass(2000);
            for (const [topic, bodies] of owed) expect(site.delivered.get(topic)?.sort()).toEqual(bodies);
            site.heal();
            // The key is known still, and its publish is no new message.
            await site.publish("a", "repeated", 0, "key");
            await site.publish("a", "new", 0, "new key");
            await site.until(() => site.delivered.get("a")?.includes("new") === true);
            expect(site.delivered.get("a")).not.toContain("repeated");
            expect(site.log.matching(/damaged|torn|dropped|skipped|lost|defect/)).toEqual([]);
            expect([site.broker.registry.corruptRegions, site.setAside]).toEqual([0, []]);
            // Nothing comes again after a clean stop.
            await site.close();
            site.open();
            for (const topic of owed.keys()) site.consume(topic);
            const before = [...site.delivered.values()].flat().length;
            await site.pass(1000);
            expect([...site.delivered.values()].flat().length).toBe(before);
            expect(site.health).toBe("OK");
          });
        }
      }
    }
  });
}
