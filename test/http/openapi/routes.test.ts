import { expect, test } from "bun:test";
import { startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { LineLogger } from "../../../src/cli/line-logger.ts";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import { WithHttp } from "../../support/with-http.ts";

/** What a server says of itself. */
async function descriptionAt(url: string) {
  const response = await fetch(`${url}/openapi.json`);
  expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
  const text = await response.text();
  expect(await (await fetch(`${url}/openapi.json`)).text()).toBe(text);
  const page = await fetch(`${url}/docs`);
  expect(page.headers.get("content-security-policy")).toStartWith("default-src 'none'");
  const html = await page.text();
  expect(html).not.toMatch(/<script|<style|style=|\bon\w+=/);
  return { document: JSON.parse(text) as { paths: Record<string, object>; servers: { url: string }[] }, html };
}

test("a broker describes its calls, and leaves out those that it does not serve", async () => {
  await using broker = WithHttp.start();
  const { document, html } = await descriptionAt(broker.origin);
  expect(Object.keys(document.paths)).toContain("/debug/pprof/heap");
  expect(html).toContain("<h3>POST /pub</h3>");
  await using plain = WithHttp.start({ httpDebug: false });
  expect(Object.keys((await descriptionAt(plain.origin)).document.paths)).not.toContain("/debug/pprof/heap");
});

test("a lookup server describes its calls", async () => {
  await using lookup = new InProcessLookup();
  const { document, html } = await descriptionAt(`http://127.0.0.1:${lookup.server.httpPort}`);
  expect(Object.keys(document.paths)).toContain("/topic/tombstone");
  expect(html).toContain("<h3>GET /lookup</h3>");
});

test("a console below a base path describes its calls there", async () => {
  const { options } = parseFlags(adminFlags(), ["-http-address=127.0.0.1:0", "-nsqd-http-address=127.0.0.1:1", "-base-path=/nsq"]);
  const admin = startAdmin(options, new LineLogger("fatal", ""));
  try {
    const { document, html } = await descriptionAt(`http://127.0.0.1:${admin.httpPort}/nsq`);
    expect(document.servers).toEqual([{ url: "/nsq" }]);
    expect(Object.keys(document.paths["/api/topics/{topic}"] ?? {})).toEqual(["get", "post", "delete"]);
    expect(html).toContain("<h3>GET /nsq/api/topics/:topic</h3>");
  } finally {
    await admin.stop();
  }
});
