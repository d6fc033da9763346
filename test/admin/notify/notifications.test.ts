import { afterEach, describe, expect, test } from "bun:test";
import { type AdminAction, Notifications } from "../../../src/admin/notify/notifications.ts";
import { until } from "../../support/server.ts";

const MOST_WAITING = 1000;

function action(topic: string): AdminAction {
  return { action: "pause_topic", topic, timestamp: 1, remote_ip: "", user_agent: "", url: "", via: "" };
}

describe("notifications", () => {
  let server: Bun.Server<undefined> | undefined;
  const topics: string[] = [];
  const errors: string[] = [];
  const delays: number[] = [];
  /** Ends the wait before the next attempt. */
  let retry: (() => void) | undefined;
  let notifications: Notifications | undefined;

  afterEach(async () => {
    retry?.();
    await notifications?.stop();
    await server?.stop(true);
    for (const list of [topics, errors, delays]) list.length = 0;
    retry = undefined;
  });

  const logger = { level: "info" as const, debug() {}, info() {}, warn() {}, error: (line: string) => errors.push(line), fatal() {} };
  const start = (url: string) => {
    const sleep = (ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve) => {
        delays.push(ms);
        retry = resolve;
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve());
      });
    const options = { httpClientConnectTimeoutMs: 1000, httpClientRequestTimeoutMs: 1000 };
    notifications = new Notifications(new URL(url), { options, upstream: { tls: {} }, logger, rateLimitedLog: logger, sleep });
    return notifications;
  };
  const listen = (answer: (topic: string) => number, port = 0) => {
    server = Bun.serve({
      hostname: "127.0.0.1",
      port,
      fetch: async (request) => {
        const { topic } = (await request.json()) as AdminAction;
        topics.push(topic);
        return new Response(null, { status: answer(topic) });
      },
    });
    return `http://127.0.0.1:${server.port}/actions`;
  };
  const retried = async () => {
    await until("it waits", () => retry !== undefined);
    const go = retry;
    retry = undefined;
    go?.();
  };

  test("are sent in their order, one after the other", async () => {
    const sent = start(listen(() => 200));
    for (const topic of ["a", "b", "c"]) sent.add(action(topic));
    await until("all are sent", () => topics.length === 3);
    expect(topics).toEqual(["a", "b", "c"]);
  });

  test("are sent again, later and later, while the endpoint is down or fails, and nothing else fails", async () => {
    const url = listen(() => 200);
    const port = server?.port;
    await server?.stop(true);
    const sent = start(url);
    sent.add(action("a"));
    sent.add(action("b"));
    for (let attempt = 0; attempt < 8; attempt++) await retried();
    await until("it waits again", () => delays.length === 9);
    expect(delays).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    let failing = 2;
    listen(() => (failing-- > 0 ? 503 : 204), port);
    for (let attempt = 0; attempt < 3; attempt++) await retried();
    await until("both are sent", () => topics.length === 4);
    expect(topics).toEqual(["a", "a", "a", "b"]);
    expect(errors[0]).toContain("failed to POST notification to http://127.0.0.1:");
  });

  test("that the endpoint refuses are not sent again", async () => {
    const sent = start(listen((topic) => (topic === "a" ? 404 : 200)));
    sent.add(action("a"));
    sent.add(action("b"));
    await until("the second is sent", () => topics.includes("b"));
    expect(topics).toEqual(["a", "b"]);
    expect(errors).toEqual([expect.stringContaining("got response 404 Not Found; pause_topic is not sent again")]);
  });

  test("that do not fit are dropped, the oldest first, and the log says so", async () => {
    let isUp = false;
    const sent = start(listen(() => (isUp ? 200 : 500)));
    for (let count = 0; count < MOST_WAITING + 5; count++) sent.add(action(`t${count}`));
    await until("it waits", () => delays.length === 1);
    topics.length = 0;
    isUp = true;
    await retried();
    await until("the rest is sent", () => topics.length >= MOST_WAITING);
    expect([topics[0], topics.at(-1)]).toEqual(["t5", `t${MOST_WAITING + 4}`]);
    expect(errors.filter((line) => line.includes("the oldest is dropped"))).toHaveLength(5);
  });

  test("that wait are counted when the console stops, and no password is logged", async () => {
    const sent = start("http://ann:secret@127.0.0.1:1/");
    sent.add(action("a"));
    await until("it waits", () => delays.length === 1);
    await sent.stop();
    expect(errors.at(-1)).toBe("notifications: 1 could not be sent to http://ann:xxxxx@127.0.0.1:1/");
    expect(errors.join()).not.toContain("secret");
  });
});
