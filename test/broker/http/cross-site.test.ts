import { expect, test } from "bun:test";
import { parseFlags } from "../../../src/cli/flags.ts";
import { lookupFlags } from "../../../src/cli/lookup-flags.ts";
import { startLookup } from "../../../src/lookup/start-lookup.ts";
import { exchange, requestBytes } from "../../behaviour/differential/support/http-wire.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { WithHttp } from "../../support/with-http.ts";

/** Status line and body of the answer to a request, sent as its bytes. */
async function answer(port: number, method: string, target: string, headers: string[] = [], host?: string): Promise<string> {
  const bytes = requestBytes(method, target, method === "GET" ? undefined : "text", headers);
  const named = host === undefined ? bytes : Buffer.from(bytes.toString("latin1").replace("Host: broker.test", host), "latin1");
  const response = await exchange(port, named);
  return `${response?.statusLine.split(" ")[1]} ${response?.body}`;
}

function openLookup(...args: string[]) {
  return startLookup(
    parseFlags(lookupFlags("host"), ["-tcp-address=127.0.0.1:0", "-http-address=127.0.0.1:0", ...args]).options,
    new MemoryLogger(),
  );
}

const FOREIGN = [
  ["Sec-Fetch-Site: cross-site"],
  ["sec-fetch-site: CROSS-SITE".toLowerCase(), "Origin: http://broker.test"],
  ["Origin: http://evil.example"],
  ["Origin: null"],
];
const OWN = [[], ["Origin: http://broker.test"], ["Sec-Fetch-Site: same-origin", "Origin: http://broker.test"], ["Sec-Fetch-Mode: cors"]];
const WRITES = ["/pub?topic=t", "/mpub?topic=t", "/topic/create?topic=u", "/topic/delete?topic=t", "/channel/empty?topic=t&channel=c"];

test("a page of another origin cannot make a browser write to the broker, with and without the fast path", async () => {
  for (const httpFastPath of [true, false]) {
    await using http = WithHttp.start({ httpFastPath });
    for (const headers of FOREIGN) {
      for (const target of WRITES) {
        expect([headers, target, await answer(http.http.port, "POST", target, headers)]).toEqual([
          headers,
          target,
          '403 {"message":"CROSS_SITE_REQUEST"}',
        ]);
      }
      expect(await answer(http.http.port, "PUT", "/config/log_level", headers)).toStartWith("403 ");
      expect(await answer(http.http.port, "GET", "/ping", headers)).toBe("200 OK");
    }
    expect([...http.broker.registry.topics.keys()]).toEqual([]);
    for (const headers of OWN)
      expect([headers, await answer(http.http.port, "POST", "/pub?topic=t", headers)]).toEqual([headers, "200 OK"]);
  }
});

test("a page of another origin cannot make a browser write to the lookup server", async () => {
  const lookup = openLookup();
  try {
    for (const headers of FOREIGN) {
      for (const target of ["/topic/create?topic=t", "/channel/create?topic=t&channel=c", "/topic/tombstone?topic=t&node=n:1"]) {
        expect(await answer(lookup.httpPort, "POST", target, headers)).toBe('403 {"message":"CROSS_SITE_REQUEST"}');
      }
    }
    expect(await answer(lookup.httpPort, "GET", "/topics", ["Sec-Fetch-Site: cross-site"])).toBe('200 {"topics":[]}');
    expect(await answer(lookup.httpPort, "POST", "/topic/create?topic=t")).toBe("200 ");
  } finally {
    await lookup.stop();
  }
});

test("with --http-allowed-hosts a request under another name is refused, whatever it asks for", async () => {
  const lookup = openLookup("-http-allowed-hosts=broker.test");
  try {
    await using http = WithHttp.start({ httpAllowedHosts: ["broker.test", "127.0.0.1"] });
    for (const port of [http.http.port, lookup.httpPort]) {
      expect(await answer(port, "GET", "/ping")).toBe("200 OK");
      for (const host of ["Host: evil.example", "Host: evil.example:4151"]) {
        expect([host, await answer(port, "GET", "/ping", [], host)]).toEqual([host, '403 {"message":"HOST_NOT_ALLOWED"}']);
        expect([host, await answer(port, "POST", "/pub?topic=t", [], host)]).toEqual([host, '403 {"message":"HOST_NOT_ALLOWED"}']);
      }
    }
    expect(await answer(http.http.port, "POST", "/pub?topic=t", [], "Host: 127.0.0.1:4151")).toBe("200 OK");
    expect([...http.broker.registry.topics.keys()]).toEqual(["t"]);
  } finally {
    await lookup.stop();
  }
});

test("with --http-debug=false nothing is served under /debug/pprof, and the rest is", async () => {
  const lookup = openLookup("-http-debug=false");
  try {
    await using http = WithHttp.start({ httpDebug: false });
    for (const path of [
      "/debug/pprof/",
      "/debug/pprof/heap",
      "/debug/pprof/profile?seconds=1",
      "/debug/pprof/cmdline",
      "/debug/PPROF/heap",
    ]) {
      for (const port of [http.http.port, lookup.httpPort])
        expect([path, await answer(port, "GET", path)]).toEqual([path, '404 {"message":"NOT_FOUND"}']);
    }
    expect(await answer(http.http.port, "POST", "/debug/freememory")).toBe('404 {"message":"NOT_FOUND"}');
    expect(await answer(http.http.port, "PUT", "/debug/setblockrate?rate=1")).toBe('404 {"message":"NOT_FOUND"}');
    // The registry, which nsqlookupd shows there, is no more than /nodes and /lookup tell.
    expect(await answer(lookup.httpPort, "GET", "/debug")).toStartWith("200 ");
    expect(await answer(http.http.port, "GET", "/ping")).toBe("200 OK");
  } finally {
    await lookup.stop();
  }
});
