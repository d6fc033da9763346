import { expect, test } from "bun:test";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { type Frame, RawClient } from "../../support/raw-client.ts";
import { type Server, startServer, until } from "../../support/server.ts";

const ROUNDS = 8;
const CHANNEL = "topic=t&channel=ch";

/**
 * Kills the broker between and in the middle of seeks, publishes with keys, finishes and requeues by id, with segments of
 * a few messages and retention, and looks afterwards whether the channel is where the last answered seek put it: nothing
 * below comes, all behind that was not finished comes, and no key's message is there twice.
 */
test("a broker that is killed in the middle of looking back has lost no word that it gave", async () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed} (BUNSQ_SEED=${seed} to repeat)`);
  const random = new Random(seed);
  const dataPath = temporaryFolder();
  const args = ["--max-bytes-per-file=4096", "--retention-time=1h", random.chance(0.5) ? "--durability=fsync" : "--durability=write"];
  let server = await startServer({ dataPath, args });
  await server.http("POST", "/topic/create?topic=t");
  await server.http("POST", `/channel/create?${CHANNEL}`);

  /** Bodies whose publish was acknowledged, and all that were sent. */
  const acknowledged = new Set<string>();
  const sent: string[] = [];
  let from = 0;
  /** A seek that may or may not have happened: the answer was cut off. */
  let maybe: number | undefined;
  /** Sequences that are finished for good, since the last seek, by an answered call. */
  const finished = new Set<number>();

  for (let round = 0; round < ROUNDS; round++) {
    const consumer = await subscribe(server);
    const held: Frame[] = [];
    consumer.onFrame = (frame) => {
      if (frame.type === "message") held.push(frame);
    };
    const steps = random.int(5, 25);
    for (let step = 0; step < steps; step++) {
      const what = random.int(0, 9);
      if (what < 4) {
        const repeat = sent.length > 0 && random.chance(0.3);
        const body = repeat ? random.pick(sent) : `message-${sent.length}`;
        if (!repeat) sent.push(body);
        expect(await publish(server, body)).toBe(200);
        acknowledged.add(body);
      } else if (what < 6) {
        const frame = held.shift();
        if (frame === undefined) continue;
        const path = random.chance(0.5)
          ? `/message/finish?${CHANNEL}`
          : `/message/requeue?${CHANNEL}&defer=${random.pick([0, 50, 3_600_000])}`;
        const { status } = await server.http("POST", `${path}&id=${frame.id}`);
        // 409: it was disowned by a seek and finished meanwhile, or is below the place.
        expect([200, 409]).toContain(status);
        if (status === 200 && path.startsWith("/message/finish")) finished.add(sequenceOf(frame));
      } else if (what < 8) {
        const frame = held.shift();
        if (frame !== undefined) consumer.command(`REQ ${frame.id} ${random.pick([0, 20, 400, 3_600_000])}`);
      } else {
        const to = random.int(0, sent.length);
        const { sequence } = await json(server, "POST", `/channel/seek?${CHANNEL}&to=${to}`);
        from = sequence;
        finished.clear();
      }
    }
    // The last calls cross the kill: nobody knows whether they were carried out.
    const last = random.int(0, sent.length);
    const body = `message-${sent.length}`;
    sent.push(body);
    const crossing = [server.http("POST", `/channel/seek?${CHANNEL}&to=${last}`), publish(server, body)].map((call) => call.catch(() => 0));
    if (random.chance(0.5)) await Promise.race(crossing);
    maybe = last;
    await server.stop("SIGKILL");
    await Promise.all(crossing);
    consumer.terminate();
    server = await startServer({ dataPath, args });

    const end = await untilWhole(server, acknowledged);
    const first = await check(server, end, from, maybe, finished);
    from = first;
    // What check() moved is a seek as well.
    finished.clear();
    // A producer that did not hear repeats; now all is there once.
    for (const unsure of sent) expect(await publish(server, unsure)).toBe(200);
    for (const all of sent) acknowledged.add(all);
    expect(await bodies(server)).toEqual([...sent].toSorted());
  }
  await server.stop();
  removeFolder(dataPath);
}, 60_000);

// biome-ignore lint/suspicious/noExplicitAny: an answer is what the test says it is
async function json(server: Server, method: string, path: string): Promise<any> {
  const response = await server.http(method, path);
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

function sequenceOf({ id }: Frame): number {
  return Number.parseInt(id.slice(6), 16);
}

async function subscribe(server: Server): Promise<RawClient> {
  const consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("SUB t ch");
  consumer.command("RDY 10");
  return consumer;
}

async function publish(server: Server, body: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.httpPort}/pub?topic=t`, {
    method: "POST",
    headers: { "Idempotency-Key": body },
    body,
  });
  return response.status;
}

/** All bodies in the log, sorted. */
async function bodies(server: Server): Promise<string[]> {
  const found: string[] = [];
  for (let next = 0; ; ) {
    const page = await json(server, "GET", `/topic/messages?topic=t&from=${next}&limit=1000`);
    found.push(...page.messages.map(({ body }: { body: string }) => body));
    next = page.next;
    if (next === page.end) return found.toSorted();
  }
}

/** Each acknowledged message is in the log, and none is there twice. @returns the log's end */
async function untilWhole(server: Server, acknowledged: ReadonlySet<string>): Promise<number> {
  const found = await bodies(server);
  expect(new Set(found).size).toBe(found.length);
  expect([...acknowledged].filter((body) => !found.includes(body))).toEqual([]);
  return found.length;
}

/** The channel holds what is behind its place, waiting or deferred, but for what was finished. @returns its new place, which is the end */
async function check(server: Server, end: number, from: number, maybe: number, finished: ReadonlySet<number>): Promise<number> {
  const there = new Set<number>();
  // In this order: one that falls due in between is seen twice, and not missed.
  for (const state of ["deferred", "waiting"]) {
    const ofState = new Set<number>();
    for (let next: number | string = state === "deferred" ? "" : 0; ; ) {
      const query = next === "" ? "" : `&from=${next}`;
      const page = await json(server, "GET", `/channel/messages?${CHANNEL}&state=${state}&limit=50${query}`);
      for (const { sequence } of page.messages) {
        if (ofState.has(sequence)) throw new Error(`${sequence} is ${state} twice`);
        ofState.add(sequence);
        there.add(sequence);
      }
      if (page.next === null) break;
      next = page.next;
    }
  }
  const owed = (place: number, without: ReadonlySet<number>) =>
    Array.from({ length: end - place }, (_, i) => place + i).filter((sequence) => !without.has(sequence));
  const actual = [...there].toSorted((a, b) => a - b);
  const moved = owed(Math.min(maybe, end), new Set());
  const stayed = owed(from, finished);
  // The seek that crossed the kill counts, or it does not; nothing between.
  if (JSON.stringify(actual) !== JSON.stringify(moved)) expect(actual).toEqual(stayed);
  const { sequence } = await json(server, "POST", `/channel/seek?${CHANNEL}&to=end`);
  await until("nothing is left", async () => {
    const { topics } = await json(server, "GET", "/stats?format=json&topic=t");
    return topics[0].channels[0].depth === 0 && topics[0].channels[0].deferred_count === 0;
  });
  return sequence;
}
