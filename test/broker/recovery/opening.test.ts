import { expect, test } from "bun:test";
import { StartInterrupted } from "../../../src/base/start-error.ts";
import { openBroker } from "../../../src/broker/broker.ts";
import { OpeningHttp } from "../../../src/broker/http/opening-http.ts";
import { Opening } from "../../../src/broker/opening.ts";
import { openParts } from "../../../src/broker/parts.ts";
import type { RecoveryProgress } from "../../../src/broker/recovery/recovery.ts";
import { startBroker } from "../../../src/broker/server.ts";
import { BUNSQ_VERSION } from "../../../src/version.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";

const TOPICS = 12;
/** How many the first topic has. */
const PARTITIONS = 6;

/** A data path with topics that have a channel each. */
async function filledPath(): Promise<string> {
  const dataPath = temporaryFolder();
  const broker = openBroker(defaultOptions({ dataPath }), new MemoryLogger());
  for (let i = 0; i < TOPICS; i++) broker.registry.topicWith(`t${i}`, i === 0 ? PARTITIONS : 1).channel("c");
  await broker.close();
  return dataPath;
}

/** Steps that go on until the test ends them. */
class TestSteps {
  isDone = false;

  *steps(): Generator<RecoveryProgress, string> {
    while (!this.isDone) yield { opened: 3, total: 7 };
    return "open";
  }
}

async function early(test: (url: string, opening: Opening) => Promise<void>): Promise<void> {
  const opening = new Opening();
  const server = new OpeningHttp(defaultOptions({ httpAddress: "127.0.0.1:0" }), opening, new MemoryLogger());
  try {
    await test(`http://127.0.0.1:${server.port}`, opening);
  } finally {
    server.stop();
  }
}

test("HTTP answers between the steps of an opening", async () => {
  await early(async (url, opening) => {
    const work = new TestSteps();
    const opened = opening.run(work.steps());
    const ready = await fetch(`${url}/ready?x=1`);
    expect(`${ready.status} ${await ready.text()}`).toBe("503 NOK - recovering: 3 of 7 topics are open");
    const head = await fetch(`${url}/ready`, { method: "HEAD" });
    expect(`${head.status} ${await head.text()}`).toBe("503 ");
    const ping = await fetch(`${url}/ping`);
    expect(`${ping.status} ${await ping.text()}`).toBe("200 OK");
    const info = await fetch(`${url}/info`);
    expect(info.status).toBe(200);
    expect(await info.json()).toMatchObject({ bunsq_version: BUNSQ_VERSION, http_port: Number(new URL(url).port) });
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toContain("nsq_waiting_topics 4\n");
    expect(metrics).toContain("build_info{");
    work.isDone = true;
    expect(await opened).toBe("open");
  });
});

test("every other call during an opening is refused with its body unread", async () => {
  await early(async (url) => {
    const calls: [string, string, string?][] = [
      ["GET", "/stats"],
      ["POST", "/pub?topic=t", "x".repeat(300_000)],
      ["POST", "/ping", ""],
      ["GET", "/nothing"],
    ];
    for (const [method, path, body] of calls) {
      const answer = await fetch(url + path, body === undefined ? { method } : { method, body });
      expect(`${answer.status} ${await answer.text()}`).toBe('503 {"message":"RECOVERING"}');
    }
  });
});

test("a client that sends an endless head is refused", async () => {
  await early(async (url) => {
    const ended = Promise.withResolvers<string>();
    let got = "";
    await Bun.connect({
      hostname: "127.0.0.1",
      port: Number(new URL(url).port),
      socket: {
        open: (socket) => void socket.write(`no request${"x".repeat(20_000)}`),
        data: (_, data) => {
          got += data.toString();
        },
        end: () => ended.resolve(got),
        close: () => ended.resolve(got),
        error: () => ended.resolve(got),
      },
    });
    expect(await ended.promise).toStartWith("HTTP/1.1 400 ");
  });
});

test("an opening that is stopped ends before its next step", async () => {
  const opening = new Opening();
  const opened = opening.run(new TestSteps().steps());
  const failure = opened.catch((error: unknown) => error);
  await opening.stop();
  expect(await failure).toBeInstanceOf(StartInterrupted);
});

test("recovery can be interrupted between any two partitions, and the next one opens everything", async () => {
  const dataPath = await filledPath();
  const log = new MemoryLogger();
  let steps = 0;
  for (let isOver = false; !isOver; steps++) {
    const opening = openParts(defaultOptions({ dataPath }), log, {});
    for (let step = 0; step < steps && !isOver; step++) {
      const { done, value } = opening.next();
      isOver = done === true;
      if (done === true) {
        value.metadata.close();
        value.lock.release();
      }
    }
    // What was opened so far is left as a kill leaves it; the folder is unlocked.
    if (!isOver) expect(() => opening.throw(new StartInterrupted("now"))).toThrow("now");
  }
  // First the topic files are read, one at a step, then each partition is opened.
  expect(steps).toBeGreaterThan(2 * (TOPICS + PARTITIONS));
  const broker = openBroker(defaultOptions({ dataPath }), log);
  expect(broker.registry.topics.size).toBe(TOPICS);
  expect(broker.registry.topic("t0").partitions.map(({ index }) => index)).toEqual(Array.from({ length: PARTITIONS }, (_, i) => i));
  expect([...broker.registry.topics.values()].reduce((sum, { channels }) => sum + channels.size, 0)).toBe(TOPICS);
  await broker.close();
  removeFolder(dataPath);
}, 30_000);

test("the API takes over the port that answered before, and TCP opens with it", async () => {
  const dataPath = await filledPath();
  const log = new MemoryLogger();
  const closes: (() => Promise<void> | void)[] = [];
  const { broker } = await startBroker(defaultOptions({ dataPath, httpAddress: "127.0.0.1:0" }), log, (close) => closes.push(close));
  const before = log.lines.findIndex((line) => line.includes(`HTTP: 127.0.0.1:${broker.httpPort} answers /ready`));
  const tcp = log.lines.findIndex((line) => line.includes("TCP: listening on"));
  const after = log.lines.findIndex((line) => line.includes(`HTTP: listening on 127.0.0.1:${broker.httpPort}`));
  expect(before).toBeGreaterThanOrEqual(0);
  expect(tcp).toBeGreaterThan(before);
  expect(after).toBeGreaterThan(tcp);
  const ready = await fetch(`http://127.0.0.1:${broker.httpPort}/ready`);
  expect(`${ready.status} ${await ready.text()}`).toBe("200 OK");
  for (const close of closes.reverse()) await close();
  removeFolder(dataPath);
});

test("a start that is stopped while it recovers gives the port and the data path back", async () => {
  const dataPath = await filledPath();
  const log = new MemoryLogger();
  const closes: (() => Promise<void> | void)[] = [];
  const options = defaultOptions({ dataPath, httpAddress: "127.0.0.1:0" });
  const ended: (Promise<void> | void)[] = [];
  const started = startBroker(options, log, (close) => {
    closes.push(close);
    // The opening comes fourth, behind the lock, the early listener and the import. It has not begun, and must not run to its end.
    if (closes.length === 4) ended.push(...closes.reverse().map((each) => each()));
  });
  const failure = await started.then(
    () => undefined,
    (error: unknown) => error,
  );
  // Not the object itself: shown in full, a broker has a million lines.
  expect(failure instanceof StartInterrupted).toBe(true);
  await Promise.all(ended);
  const broker = openBroker(defaultOptions({ dataPath }), log);
  expect(broker.registry.topics.size).toBe(TOPICS);
  await broker.close();
  removeFolder(dataPath);
});
