import { expect, test } from "bun:test";
import { version } from "../../../package.json" with { type: "json" };
import { NSQ_VERSION } from "../../../src/version.ts";
import { startLookupServer } from "../../support/lookup.ts";
import { WithHttp } from "../../support/with-http.ts";

const RELEASES = { version: NSQ_VERSION, bunsq_version: version };

test("/info and /stats tell bunsq's own release beside NSQ's, in JSON and in text", async () => {
  await using http = WithHttp.start();
  for (const path of ["/info", "/stats?format=json"]) {
    const answer = await http.call("GET", path);
    expect(JSON.parse(answer.slice(answer.indexOf("{")))).toMatchObject(RELEASES);
  }
  expect((await http.call("GET", "/stats")).split("\n")[0]).toContain(`bunsq ${version}`);
});

test("the lookup server's /info tells both, too", async () => {
  const lookup = await startLookupServer();
  try {
    expect(await (await lookup.http("GET", "/info")).json()).toEqual(RELEASES);
  } finally {
    await lookup.stop();
  }
});
