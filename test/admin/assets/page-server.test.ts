import { beforeAll, expect, test } from "bun:test";
import { brotliDecompressSync } from "node:zlib";
import { PageServer, servePage } from "../../../src/admin/assets/page-server.ts";

let server: PageServer;
let index: string;

beforeAll(async () => {
  server = await PageServer.open("/");
  index = await ask("/").text();
});

function ask(path: string, headers: Record<string, string> = {}, from = server): Response {
  return from.respond(new Request(`http://console${encodeURI(path)}`, { headers }), path);
}

/** The names of the files that a document or script names. */
const namesIn = (text: string) => [
  ...new Set([...text.matchAll(/\.\/([\w.-]+-[0-9a-z]{8}\.(?:js|css|svg))/g)].map(([, name = ""]) => name)),
];

/** Every file of the page, by its name: what the document names, and what these name. */
async function allFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const pending = namesIn(index);
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (files.has(name)) continue;
    const text = await ask(`/${name}`).text();
    files.set(name, text);
    pending.push(...namesIn(text));
  }
  return files;
}

test("every path that is no file's is the page, nsqadmin's links among them", async () => {
  const paths = [
    "/",
    "/topics",
    "/topics/a",
    "/topics/a/b",
    "/nodes",
    "/nodes/10.0.0.1:4151",
    "/counter",
    "/lookup",
    "/messages",
    "/any/thing.js",
  ];
  for (const path of paths) {
    const response = ask(path);
    expect([path, response.status, response.headers.get("content-type"), await response.text()]).toEqual([
      path,
      200,
      "text/html;charset=utf-8",
      index,
    ]);
  }
});

test("no path leads out of the page's files", async () => {
  const paths = [
    "/../../package.json",
    "/..%2f..%2fpackage.json",
    "//etc/passwd",
    "/index.html/../main.tsx",
    "/main.tsx",
    "/style/page.css",
    "/constructor",
    "/__proto__",
  ];
  for (const path of paths) expect([path, await ask(path).text()]).toEqual([path, index]);
});

test("a file of another build is not found, so that no document is taken for a script", () => {
  expect(ask("/index-00000000.js").status).toBe(404);
  expect(ask("/index-00000000.css").status).toBe(404);
});

test("names with a hash are kept for ever, and the page is asked for each time", async () => {
  expect(ask("/").headers.get("cache-control")).toBe("no-cache");
  const files = await allFiles();
  expect(files.size).toBeGreaterThanOrEqual(5);
  for (const name of files.keys())
    expect([name, ask(`/${name}`).headers.get("cache-control")]).toEqual([name, "public, max-age=31536000, immutable"]);
});

test("the ETag is quoted, and a page that has not changed is not sent again", () => {
  const etag = ask("/").headers.get("etag") ?? "";
  expect(etag).toMatch(/^"[0-9a-f]{16}"$/);
  for (const header of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
    const response = ask("/topics/a", { "if-none-match": header });
    expect([header, response.status, response.body]).toEqual([header, 304, null]);
    expect(response.headers.get("etag")).toBe(etag);
  }
  expect(ask("/", { "if-none-match": '"other"' }).status).toBe(200);
  // Another encoding is another body, and so has another ETag.
  expect(ask("/", { "accept-encoding": "br", "if-none-match": etag }).status).toBe(200);
});

test("the best encoding that the client takes is sent", async () => {
  const encodingFor = (accepted: string) => ask("/", { "accept-encoding": accepted }).headers.get("content-encoding");
  expect(
    ["gzip, deflate, br, zstd", "gzip", "BR;q=0.5, gzip", "br;q=0, gzip;q=0.2", "br;q=0.0", "identity", "*", ""].map(encodingFor),
  ).toEqual(["br", "gzip", "br", "gzip", null, null, null, null]);
  expect(ask("/").headers.get("vary")).toBe("Accept-Encoding");
  for (const [name, text] of await allFiles()) {
    const br = ask(`/${name}`, { "accept-encoding": "br" });
    expect(br.headers.get("content-encoding")).toBe("br");
    expect(brotliDecompressSync(await br.bytes()).toString()).toBe(text);
    const gzip = ask(`/${name}`, { "accept-encoding": "gzip" });
    expect(new TextDecoder().decode(Bun.gunzipSync(await gzip.arrayBuffer()))).toBe(text);
  }
});

test("HEAD has the headers and no body", async () => {
  const response = server.respond(new Request("http://console/", { method: "HEAD" }), "/");
  expect([response.status, response.headers.get("etag"), await response.text()]).toEqual([200, ask("/").headers.get("etag"), ""]);
});

test("all of the page is less than 80 kB, and the first view loads less than 45 kB", async () => {
  const sizeOf = async (name: string) => (await ask(`/${name}`, { "accept-encoding": "br" }).bytes()).length;
  const sizes = await Promise.all(["", ...(await allFiles()).keys()].map(sizeOf));
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(80_000);
  const first = await Promise.all(["", ...namesIn(index)].map(sizeOf));
  expect(first.reduce((sum, size) => sum + size, 0)).toBeLessThan(45_000);
});

test("no script and no style is in the document, and nothing is of another host", async () => {
  expect(index).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=/);
  expect([...index.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url = ""]) => url).filter((url) => !url.startsWith("./"))).toEqual(["/"]);
  const policy = ask("/").headers.get("content-security-policy") ?? "";
  expect(policy).not.toContain("unsafe");
  for (const rule of [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'self'",
  ]) {
    expect(policy.split("; ")).toContain(rule);
  }
});

test("each answer says that its type is not to be guessed, and where the page came from is nobody's business", async () => {
  for (const path of ["/", `/${namesIn(index)[0]}`]) {
    const { headers } = ask(path);
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("referrer-policy")).toBe("no-referrer");
    expect(headers.get("x-frame-options")).toBe("DENY");
    expect(headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
  }
});

test("the base path is the document's base, and a path cannot break out of it", async () => {
  for (const [basePath, base] of [
    ["/", "/"],
    ["/nsq", "/nsq/"],
    ['/a"b', "/a&quot;b/"],
  ] as const) {
    const text = await ask("/topics", {}, await PageServer.open(basePath)).text();
    expect(/<base href="([^>]*)" \/>/.exec(text)?.[1]).toBe(base);
  }
});

test("the page is opened by the first request, for all that come meanwhile", async () => {
  const answer = servePage("/");
  const responses = await Promise.all(["/", "/topics"].map((assetPath) => answer({ request: new Request("http://console/"), assetPath })));
  expect(await Promise.all(responses.map((response) => response.text()))).toEqual([index, index]);
});
