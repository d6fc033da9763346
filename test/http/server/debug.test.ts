import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { apiRouter as lookupRouterOf } from "../../../src/lookup/http/routes.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

const lookupRouter = lookupRouterOf(true);

describe("/debug of a broker", () => {
  let http: WithHttp;

  beforeAll(() => {
    http = WithHttp.start();
  });
  afterAll(() => http[Symbol.asyncDispose]());

  const call = (method: string, path: string, init: RequestInit = {}) => fetch(`${http.origin}/debug${path}`, { method, ...init });
  const told = async (method: string, path: string) => {
    const response = await call(method, path);
    return `${response.status} ${await response.text()}`;
  };

  test("an overview in plain text lists what there is", async () => {
    const response = await call("GET", "/pprof/");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(await response.text()).toContain("profile?seconds=N");
    expect((await call("GET", "/pprof")).url).toEndWith("/debug/pprof/");
  });

  test("a CPU profile names the functions that ran", async () => {
    const running = call("GET", "/pprof/profile?seconds=1");
    const profiled = await whileBusy(running);
    expect(profiled.status).toBe(200);
    expect(profiled.headers.get("content-disposition")).toBe('attachment; filename="bunsq.cpuprofile"');
    const { nodes, samples, timeDeltas } = (await profiled.json()) as {
      nodes: { callFrame: { functionName: string } }[];
      samples: number[];
      timeDeltas: number[];
    };
    expect(nodes.map(({ callFrame }) => callFrame.functionName)).toContain("recognisable");
    expect(samples.length).toBe(timeDeltas.length);
  }, 20_000);

  test("a second profile at the same time is refused", async () => {
    await until("they meet", async () => {
      const both = await Promise.all([told("GET", "/pprof/profile?seconds=1"), told("GET", "/pprof/profile?seconds=1")]);
      const refused = both.filter((answer) => answer.startsWith("500 "));
      for (const answer of refused) expect(answer).toBe("500 Could not enable CPU profiling: cpu profiling already in use\n");
      return refused.length === 1;
    });
  }, 20_000);

  test("a profile ends when its client disconnects", async () => {
    const gone = new AbortController();
    const running = call("GET", "/pprof/profile?seconds=100", { signal: gone.signal }).catch(() => "gone");
    await until("it is under way", async () => (await told("GET", "/pprof/profile?seconds=1")).startsWith("500 "));
    gone.abort();
    expect(await running).toBe("gone");
    await until("another may be made", async () => (await told("GET", "/pprof/profile?seconds=1")).startsWith("200 "));
  }, 20_000);

  test("a profile that would outlast the connection is refused", async () => {
    expect(await told("GET", "/pprof/profile?seconds=101")).toBe("400 profile duration exceeds 100 seconds\n");
  });

  test("a heap snapshot is in the format of developer tools", async () => {
    const response = await call("GET", "/pprof/heap");
    expect(response.headers.get("content-disposition")).toBe('attachment; filename="bunsq.heapsnapshot"');
    const { snapshot, nodes, strings } = (await response.json()) as {
      snapshot: { meta: { node_fields: string[] }; node_count: number };
      nodes: number[];
      strings: string[];
    };
    expect(nodes.length).toBe(snapshot.node_count * snapshot.meta.node_fields.length);
    expect(strings).toContain("Broker");
  }, 20_000);

  test("the command line is answered as in Go", async () => {
    expect(await told("GET", "/pprof/cmdline")).toBe(`200 ${[process.argv0, ...process.argv.slice(2)].join("\0")}`);
  });

  test("pages without content for this program say so", async () => {
    expect(await told("GET", "/pprof/symbol")).toBe("200 num_symbols: 0\n");
    expect(await told("POST", "/pprof/symbol")).toBe("200 num_symbols: 0\n");
    for (const name of ["goroutine", "threadcreate", "block"]) {
      expect(await told("GET", `/pprof/${name}`)).toMatch(/^200 no .*: one event loop serves everything; /);
    }
    expect(await told("PUT", "/setblockrate?rate=10")).toMatch(/^200 no record of blocking: /);
    expect(await told("PUT", "/setblockrate?rate=fast")).toBe('400 invalid block rate : "fast" is no whole number');
  });

  test("memory is freed on request", async () => {
    const garbage = Array.from({ length: 1000 }, () => new WeakRef({ some: "object" }));
    expect(await told("POST", "/freememory")).toBe("200 OK");
    expect(garbage.filter((reference) => reference.deref() !== undefined).length).toBeLessThan(500);
  });
});

/** Computes, with pauses for other work, until a promise is resolved. */
async function whileBusy<T>(awaited: Promise<T>): Promise<T> {
  let came = false;
  void awaited.finally(() => {
    came = true;
  });
  while (!came) {
    (function recognisable() {
      for (const until = performance.now() + 20; performance.now() < until; );
    })();
    await Bun.sleep(5);
  }
  return awaited;
}

test("a lookup server has these pages, but not those that change the broker", () => {
  for (const path of ["/debug/pprof", "/debug/pprof/profile", "/debug/pprof/heap", "/debug/pprof/cmdline"]) {
    expect(lookupRouter.findEndpoint("GET", path), path).toBeDefined();
  }
  expect(lookupRouter.correctedPath("GET", "/debug/pprof/")).toBe("/debug/pprof");
  expect(lookupRouter.findEndpoint("POST", "/debug/freememory")).toBeUndefined();
});
