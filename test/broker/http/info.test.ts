import { expect, test } from "bun:test";
import { version } from "../../../package.json" with { type: "json" };
import { systemClock } from "../../../src/base/clock.ts";
import { systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { NSQ_VERSION } from "../../../src/version.ts";
import { FlakyDisk } from "../../support/flaky-disk.ts";
import { startLookupServer } from "../../support/lookup.ts";
import { Random } from "../../support/random.ts";
import { until } from "../../support/server.ts";
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

test("/ready says whether clients should come, to GET and HEAD", async () => {
  const disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
  await using http = WithHttp.start({}, {}, { disk });
  expect(await http.call("GET", "/ready")).toBe("200 OK");
  const head = await http.fetch("HEAD", "/ready");
  expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "2", ""]);
  expect(await http.call("POST", "/ready")).toStartWith("405");
  const { publishing } = http.broker;
  publishing.refuseOnDisk(new Error("the disk is nearly full"));
  expect(await http.call("GET", "/ready")).toBe("503 NOK - the disk is nearly full");
  publishing.refuseOnDisk(undefined);
  http.setWriteFailure(new Error("no space left on device"));
  expect(await http.call("GET", "/ready")).toBe("503 NOK - no space left on device");
  expect((await http.fetch("HEAD", "/ready")).status).toBe(503);
  http.setWriteFailure(undefined);
  await http.started.publish("t", "m");
  await http.restart(undefined, () => {
    disk.script.push({ path: /-t\/.*\.idx$/, calls: ["read"], code: "EIO", times: Number.POSITIVE_INFINITY });
  });
  expect(await http.call("GET", "/ready")).toBe("503 NOK - recovering: 1 topics of an earlier run cannot be opened yet");
  disk.script.length = 0;
  await until("it is ready", async () => (await http.call("GET", "/ready")) === "200 OK");
  const stats = () => http.call("GET", "/stats?format=json&bunsq=true");
  expect(await stats()).not.toContain("draining");
  http.broker.drain.begin(60_000);
  expect(await http.call("GET", "/ready")).toBe("503 NOK - draining");
  expect(await stats()).toContain('"draining":true');
  expect(await http.call("GET", "/ping")).toBe("200 OK");
});
