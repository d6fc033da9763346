import { afterAll, beforeAll, expect, test } from "bun:test";
import { describeUnless, missing } from "../../support/needs.ts";
import type { Running } from "../../support/server.ts";
import { ask, startConsole } from "./support/consoles.ts";

describeUnless(missing("nsqadmin"))("graphite, behind nsqadmin and bunsq,", () => {
  let graphite: Bun.Server<undefined>;
  let consoles: Running[] = [];
  const asked: string[] = [];

  beforeAll(async () => {
    const rates: Record<string, string> = {
      rate: '[{"target":"x","datapoints":[[90.5,1],[2,2]]}]',
      negative: '[{"target":"x","datapoints":[[-1,1]]}]',
      nothing: "[]",
      empty: '[{"target":"x","datapoints":[]}]',
      unknown: '[{"target":"x","datapoints":[[null,1]]}]',
      text: "no JSON",
    };
    graphite = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => {
        const { pathname, search, searchParams } = new URL(request.url);
        asked.push(`${pathname}${search} ${request.headers.get("authorization")} ${request.headers.get("cookie")}`);
        if (searchParams.get("format") !== "json")
          return new Response("picture", { headers: { "Content-Type": "image/png", "X-Own": "1" } });
        return new Response(rates[searchParams.get("target") ?? ""] ?? "", {
          status: searchParams.get("target") === "failing" ? 500 : 200,
        });
      },
    });
    const args = ["--nsqd-http-address=127.0.0.1:1", "--proxy-graphite", "--statsd-interval=30s"];
    const url = `--graphite-url=http://ann:secret@127.0.0.1:${graphite.port}`;
    consoles = await Promise.all(["nsqadmin", "bunsq"].map((program) => startConsole(program as "bunsq", [...args, url])));
  }, 30_000);

  afterAll(async () => {
    await Promise.all(consoles.map((console) => console.stop()));
    await graphite?.stop(true);
  });

  const both = async (path: string, headers: Record<string, string> = {}) => {
    asked.length = 0;
    const [theirs, ours] = [await ask(consoles[0]!, { path, headers }), await ask(consoles[1]!, { path, headers })];
    return { theirs, ours, asked: [...asked] };
  };

  for (const target of ["rate", "negative", "nothing", "empty", "unknown", "text", "failing"]) {
    test(`tells the rate: ${target}`, async () => {
      const { theirs, ours, asked } = await both(`/api/graphite?metric=rate&target=${target}`);
      expect(ours).toEqual(theirs);
      expect(ours.status).toBe(["rate", "negative"].includes(target) ? 200 : 500);
      expect(asked).toHaveLength(2);
      expect(asked[1]).toBe(asked[0]!);
      expect(asked[0]).toStartWith("/render?format=json&from=-60sec&target=");
    });
  }

  test("shows its charts through the console, and gets no cookies of it", async () => {
    const { theirs, ours, asked } = await both("/render?target=a%20b&width=5", { Cookie: "session=1" });
    expect(ours).toEqual(theirs);
    expect(ours).toMatchObject({ status: 200, type: "image/png", body: "picture" });
    const account = `Basic ${btoa("ann:secret")}`;
    expect(asked).toEqual([`/render?target=a%20b&width=5 ${account} session=1`, `/render?target=a%20b&width=5 ${account} null`]);
    // Only what a chart needs comes back.
    const response = await consoles[1]!.http("GET", "/render?target=a");
    expect(response.headers.has("x-own")).toBe(false);
  });

  test("that is down is told as such", async () => {
    const console = await startConsole("bunsq", [
      "--nsqd-http-address=127.0.0.1:1",
      "--proxy-graphite",
      "--graphite-url=http://127.0.0.1:1",
    ]);
    try {
      expect((await ask(console, { path: "/render?target=a" })).status).toBe(502);
      expect((await ask(console, { path: "/api/graphite?metric=rate&target=a" })).body).toBe('{"message":"INTERNAL_ERROR"}');
    } finally {
      await console.stop();
    }
  }, 30_000);
});
