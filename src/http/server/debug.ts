import { lazy } from "../../base/lazy.ts";
import type { Call } from "./call.ts";
import { plain, text } from "./reply.ts";
import { get, post, put, type RouteEntry } from "./router.ts";

/** As Go's pprof without `seconds`. */
const DEFAULT_PROFILE_S = 30;
/** The server hangs up on what takes longer than its idle timeout of 120 s. */
const LONGEST_PROFILE_S = 100;
/** A sample each. */
const SAMPLE_INTERVAL_US = 1000;

const INDEX = `/debug/pprof/

profile       what the CPU does: GET profile?seconds=N (${DEFAULT_PROFILE_S} unless told, ${LONGEST_PROFILE_S} at the most), a
              .cpuprofile for the Performance panel of Chrome's DevTools, VS Code or speedscope.app
heap          what is in memory: a .heapsnapshot for the Memory panel of Chrome's DevTools or VS Code; it has the texts in
              memory too, and nothing else is served while it is made
cmdline       the program's command line, its words with a zero byte between
goroutine, threadcreate, block, symbol
              answered for tools that ask for them: there is nothing to tell of on one event loop
`;
const NO_GOROUTINES = "no goroutines: one event loop serves everything; /debug/pprof/profile says what it does\n";
const NO_THREADS = "no record of threads: one event loop serves everything; /debug/pprof/profile says what it does\n";
const NO_BLOCKING = "no record of blocking: one event loop serves everything; /debug/pprof/profile says what it does\n";

/**
 * What operators ask NSQ's servers for under /debug. The paths are nsqd's; what comes is in the formats of JavaScript's
 * tools, as Go's would have nothing to say of a program that is not Go's.
 *
 * @param index where the overview stands: nsqd and nsqlookupd differ in its last slash
 */
export function debugRoutes<OwnCall extends Call>(index: string): RouteEntry<OwnCall>[] {
  return [
    [index, get(() => plain(200, INDEX))],
    ["/debug/pprof/cmdline", get(commandLine)],
    ["/debug/pprof/profile", get(profile)],
    ["/debug/pprof/heap", get(heap)],
    ["/debug/pprof/goroutine", get(() => plain(200, NO_GOROUTINES))],
    ["/debug/pprof/threadcreate", get(() => plain(200, NO_THREADS))],
    ["/debug/pprof/block", get(() => plain(200, NO_BLOCKING))],
    // In Go's answer 0 says that addresses cannot be looked up here.
    ["/debug/pprof/symbol", new Map([...get(symbols), ...post(symbols)])],
  ];
}

/** What nsqd alone has. */
export function brokerDebugRoutes<OwnCall extends Call>(): RouteEntry<OwnCall>[] {
  return [...debugRoutes<OwnCall>("/debug/pprof/"), ["/debug/setblockrate", put(setBlockRate)], ["/debug/freememory", post(freeMemory)]];
}

/** GET /debug/pprof/cmdline. Of the words in between Bun makes some up in a compiled program. */
function commandLine(): Response {
  return plain(200, [process.argv0, ...process.argv.slice(2)].join("\0"));
}

let profiling = false;

/** GET /debug/pprof/profile[?seconds=]: the CPU profile of the coming seconds. */
async function profile({ query, request }: Call): Promise<Response> {
  const asked = Number(query.get("seconds") ?? "");
  const seconds = Number.isInteger(asked) && asked > 0 ? asked : DEFAULT_PROFILE_S;
  if (seconds > LONGEST_PROFILE_S) return plain(400, `profile duration exceeds ${LONGEST_PROFILE_S} seconds\n`);
  if (profiling) return plain(500, "Could not enable CPU profiling: cpu profiling already in use\n");
  profiling = true;
  try {
    const session = new lazy.inspector.Session();
    session.connect();
    try {
      await session.post("Profiler.enable");
      await session.post("Profiler.setSamplingInterval", { interval: SAMPLE_INTERVAL_US });
      await session.post("Profiler.start");
      await elapsed(seconds * 1000, request.signal);
      const { profile } = await session.post("Profiler.stop");
      return attachment(JSON.stringify(profile), "bunsq.cpuprofile");
    } finally {
      session.disconnect();
    }
  } finally {
    profiling = false;
  }
}

/** Waits, unless who asked goes away before. */
function elapsed(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}

/** GET /debug/pprof/heap: what is on the heap, and what holds it. */
function heap(): Response {
  return attachment(Bun.generateHeapSnapshot("v8", "arraybuffer"), "bunsq.heapsnapshot");
}

function symbols(): Response {
  return plain(200, "num_symbols: 0\n");
}

/** PUT /debug/setblockrate?rate=: taken, and without effect. */
function setBlockRate({ query }: Call): Response {
  const rate = query.get("rate") ?? "";
  if (!/^[+-]?\d+$/.test(rate)) return plain(400, `invalid block rate : ${JSON.stringify(rate)} is no whole number`);
  return text(NO_BLOCKING);
}

/** POST /debug/freememory: collects garbage and gives what is free back to the system. */
function freeMemory(): Response {
  Bun.gc(true);
  return text("OK");
}

function attachment(body: string | ArrayBuffer, fileName: string): Response {
  return new Response(body, {
    headers: { "Content-Type": "application/json; charset=utf-8", "Content-Disposition": `attachment; filename="${fileName}"` },
  });
}
