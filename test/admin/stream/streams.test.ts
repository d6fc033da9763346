import { describe, expect, test } from "bun:test";
import type { Activity, Delta, Page, TopicRow } from "../../../src/admin/console-api.ts";
import { Streams } from "../../../src/admin/stream/streams.ts";
import { ANYBODY } from "../support/anybody.ts";
import { Watching } from "../support/watching.ts";
import { applyDelta } from "./apply-delta.ts";

interface Received {
  event: string;
  data: { view?: string; data: unknown };
}

/** What is used of a ReadableStreamDefaultReader. Bun and Node declare it differently. */
interface StreamReader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/** A page's end of a stream: reads when it is told to. */
class Reader {
  private readonly reader: StreamReader;
  /** A read that has nothing yet. */
  private pending: ReturnType<StreamReader["read"]> | undefined;
  isDone = false;

  constructor(
    body: ReadableStream<Uint8Array>,
    private readonly watching: Watching,
  ) {
    this.reader = body.getReader();
  }

  /** All that comes without time passing. */
  async take(): Promise<string> {
    let text = "";
    for (;;) {
      this.pending ??= this.reader.read();
      const read = await Promise.race([this.pending, this.watching.settle()]);
      if (read === undefined) return text;
      this.pending = undefined;
      if (read.done || read.value === undefined) {
        this.isDone = true;
        return text;
      }
      text += Buffer.from(read.value).toString();
    }
  }

  async events(): Promise<Received[]> {
    const text = await this.take();
    return [...text.matchAll(/^event: (\w+)\ndata: (.*)\n\n/gm)].map(([, event = "", data = ""]) => ({
      event,
      data: JSON.parse(data) as Received["data"],
    }));
  }

  cancel(): Promise<void> {
    return this.reader.cancel();
  }
}

const TOPICS = "/topics?sort=-depth";

function topics(...depths: number[]) {
  return Object.fromEntries(depths.map((depth, i) => [`t${i}`, { depth, channels: {} }]));
}

async function start(depths = [1, 2]) {
  const broker = { topics: topics(...depths) };
  const watching = new Watching({ "a:1": broker });
  await watching.start();
  const streams = new Streams(watching.views, watching.watcher, watching.logger);
  const open = (...views: string[]) => new Reader(streams.open(views, ANYBODY).body, watching);
  return { broker, watching, streams, open, [Symbol.dispose]: () => watching[Symbol.dispose]() };
}

describe("a stream", () => {
  test("begins with each view in full, and has deltas after the polls that changed it", async () => {
    using started = await start();
    const { broker, watching, open } = started;
    const reader = open(TOPICS, "/lookups");
    const first = await reader.events();
    expect(first.map(({ event, data }) => [event, data.view])).toEqual([
      ["full", TOPICS],
      ["full", "/lookups"],
    ]);
    let view = first[0]!.data.data as Record<string, unknown>;
    for (const depths of [[5, 2], [5, 9, 7], [1], [1]]) {
      broker.topics = topics(...depths);
      await watching.pass(2_000);
      for (const { event, data } of await reader.events()) {
        expect([event, data.view]).toEqual(["delta", TOPICS]);
        view = applyDelta(view, data.data as Delta);
      }
      expect(view).toEqual(await watching.read(TOPICS));
    }
  });

  test("has an error for a view that there is not, and the view once there is", async () => {
    using started = await start([1]);
    const { broker, watching, open } = started;
    const reader = open("/topics/t1");
    const refused = { view: "/topics/t1", data: { status: 404, message: "TOPIC_NOT_FOUND" } };
    expect(await reader.events()).toEqual([{ event: "error", data: refused }]);
    await watching.pass(4_000);
    expect(await reader.events()).toEqual([]);
    broker.topics = topics(1, 2);
    await watching.pass(2_000);
    expect((await reader.events()).map(({ event }) => event)).toEqual(["full"]);
    broker.topics = topics(1);
    await watching.pass(2_000);
    expect(await reader.events()).toEqual([{ event: "error", data: refused }]);
  });

  test("sends a slow reader the newest state, and not what was between", async () => {
    using started = await start();
    const { broker, watching, open } = started;
    const [slow, fast] = [open(TOPICS), open(TOPICS)];
    await Promise.all([slow.events(), fast.events()]);
    for (let depth = 10; depth < 60; depth++) {
      broker.topics = topics(depth, 2);
      await watching.pass(2_000);
      expect((await fast.events()).map(({ event }) => event)).toEqual(["delta"]);
    }
    const late = await slow.events();
    // One was asked for when it was slow already.
    expect(late.map(({ event }) => event)).toEqual(["delta", "full"]);
    expect((late[1]!.data.data as Page<TopicRow>).rows[0]!.depth).toBe(59);
  });

  test("makes a view once for all streams that show it", async () => {
    using started = await start();
    const { watching, open } = started;
    const reads: string[] = [];
    const read = watching.views.read.bind(watching.views);
    watching.views.read = (view, sight) => {
      reads.push(view);
      return read(view, sight);
    };
    const readers = [open(TOPICS), open(TOPICS, "/overview"), open("/overview")];
    await watching.pass(2_000);
    expect(reads.sort()).toEqual(["/overview", "/overview", TOPICS, TOPICS]);
    await Promise.all(readers.map((reader) => reader.cancel()));
    await watching.pass(60_000);
    expect(reads.length).toBe(4);
  });

  test("keeps the polls going while it is open, and has comments when nothing changes", async () => {
    using started = await start([1]);
    const { watching, open } = started;
    const reader = open("/lookups");
    await reader.take();
    await watching.pass(15_000);
    expect(await reader.take()).toBe(": \n\n");
    await watching.pass(45_000);
    const asked = watching.upstream.askedFor("a:1", "/stats");
    await watching.pass(20_000);
    expect(watching.upstream.askedFor("a:1", "/stats") - asked).toBe(10);
    await reader.cancel();
    await watching.pass(40_000);
    const idle = watching.upstream.askedFor("a:1", "/stats");
    await watching.pass(20_000);
    expect(watching.upstream.askedFor("a:1", "/stats") - idle).toBe(2);
  });

  test("has what somebody did, and keeps the newest hundred for a slow reader", async () => {
    using started = await start();
    const { streams, open } = started;
    const reader = open("/lookups");
    await reader.take();
    const activity = (time: number): Activity => {
      return { time, user: "", from: "", action: "pause", topic: "t", channel: "", server: "", ok: true, detail: "" };
    };
    for (let time = 0; time < 300; time++) streams.tell(activity(time));
    const events = await reader.events();
    expect(events.length).toBeLessThanOrEqual(101);
    expect(events.at(-1)).toEqual({ event: "activity", data: { data: activity(299) } });
  });

  test("ends when the console stops", async () => {
    using started = await start();
    const { streams, open } = started;
    const reader = open("/lookups");
    await reader.take();
    streams.close();
    await reader.take();
    expect(reader.isDone).toBe(true);
  });

  test("is refused without a view, with too many, and if there are too many streams", async () => {
    using started = await start();
    const { streams, open } = started;
    expect(() => streams.open([], ANYBODY)).toThrow("INVALID_ARG_VIEW");
    expect(() =>
      streams.open(
        Array.from({ length: 17 }, (_, i) => `/topics?offset=${i}`),
        ANYBODY,
      ),
    ).toThrow("INVALID_ARG_VIEW");
    expect(() => streams.open([`/${"x".repeat(2_000)}`], ANYBODY)).toThrow("INVALID_ARG_VIEW");
    const readers = Array.from({ length: 200 }, () => open(TOPICS));
    expect(() => streams.open([TOPICS], ANYBODY)).toThrow("TOO_MANY_STREAMS");
    await readers[0]!.cancel();
    open(TOPICS);
  });
});
