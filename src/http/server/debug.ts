import { lazy } from "../../base/lazy.ts";
import type { Call } from "./call.ts";
import { plain, text } from "./reply.ts";
import { get, post, put, type RouteEntry } from "./router.ts";

/** The length of a profile without `seconds`, as in Go's pprof. */
const DEFAULT_PROFILE_S = 30;
/** The server closes a connection when an answer takes longer than its idle timeout of 120 s. */
const LONGEST_PROFILE_S = 100;
/** The time between two samples. */
const SAMPLE_INTERVAL_US = 1000;

const INDEX = `/debug/pprof/

profile       a CPU profile: GET profile?seconds=N (default ${DEFAULT_PROFILE_S}, at most ${LONGEST_PROFILE_S}) returns a .cpuprofile
              for the Performance panel of Chrome's DevTools, VS Code or speedscope.app
heap          a snapshot of the memory: a .heapsnapshot for the Memory panel of Chrome's DevTools or VS Code; it contains
              the strings in memory, and no other request is served while it is made
cmdline       the program's command line, with zero bytes between the words
goroutine, threadcreate, block, symbol
              answered for tools that ask for them; a program with one event loop has none of these
`;
const NO_GOROUTINES = "no goroutines: one event loop serves everything; see /debug/pprof/profile\n";
const NO_THREADS = "no record of threads: one event loop serves everything; see /debug/pprof/profile\n";
const NO_BLOCKING = "no record of blocking: one event loop serves everything; see /debug/pprof/profile\n";

/**
 * The routes under /debug/pprof, for operators. The paths are nsqd's. The answers are in the formats of JavaScript's tools,
 * because Go's tools cannot describe this program.
 *
 * @param index the path of the overview: nsqd's has a slash at its end, nsqlookupd's has none
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
    // The answer "0 symbols" tells Go's tools that addresses cannot be looked up here.
    ["/debug/pprof/symbol", new Map([...get(symbols), ...post(symbols)])],
  ];
}

/** The broker's routes under /debug. nsqlookupd has no setblockrate and no freememory. */
export function brokerDebugRoutes<OwnCall extends Call>(): RouteEntry<OwnCall>[] {
  return [...debugRoutes<OwnCall>("/debug/pprof/"), ["/debug/setblockrate", put(setBlockRate)], ["/debug/freememory", post(freeMemory)]];
}

/** GET /debug/pprof/cmdline. The second word is left out: Bun makes it up in a compiled program. */
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

/** Waits, or returns early if the client disconnects. */
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

/** GET /debug/pprof/heap: all objects on the heap, and the references to them. */
function heap(): Response {
  return attachment(Bun.generateHeapSnapshot("v8", "arraybuffer"), "bunsq.heapsnapshot");
}

function symbols(): Response {
  return plain(200, "num_symbols: 0\n");
}

/** PUT /debug/setblockrate?rate=: accepted, but without effect. */
function setBlockRate({ query }: Call): Response {
  const rate = query.get("rate") ?? "";
  if (!/^[+-]?\d+$/.test(rate)) return plain(400, `invalid block rate : ${JSON.stringify(rate)} is no whole number`);
  return text(NO_BLOCKING);
}

/** POST /debug/freememory: runs the garbage collector, which returns free memory to the system. */
function freeMemory(): Response {
  Bun.gc(true);
  return text("OK");
}

function attachment(body: string | ArrayBuffer, fileName: string): Response {
  return new Response(body, {
    headers: { "Content-Type": "application/json; charset=utf-8", "Content-Disposition": `attachment; filename="${fileName}"` },
  });
}
