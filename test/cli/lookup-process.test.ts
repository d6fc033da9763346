import { describe, expect, test } from "bun:test";
import { LookupClient } from "../lookup/support/lookup-client.ts";
import { startLookupServer } from "../support/lookup.ts";
import { MAIN, startProcess } from "../support/server.ts";

const ADDRESSES = ["-tcp-address=127.0.0.1:0", "-http-address=127.0.0.1:0"];

describe("a lookup process", () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    test(`ends with 0 on ${signal}, with a broker connected and an HTTP connection open`, async () => {
      const lookup = await startLookupServer();
      const client = await LookupClient.connect(lookup.tcpPort);
      expect(await client.call("PING")).toBe("OK");
      expect((await lookup.http("GET", "/ping")).status).toBe(200);
      expect(await lookup.stop(signal)).toBe(0);
      await client.socket.untilEnd();
      expect(client.socket.ended).toBe(true);
      expect(lookup.log()).toContain(` INFO: ${signal}: closing\n`);
    }, 30_000);
  }

  test("logs its addresses in two lines with nsqlookupd's prefix", async () => {
    for (const words of [["lookup"], ["nsqlookupd"], ["--mode=lookup"]]) {
      const lookup = await startProcess("bunsq", [process.execPath, MAIN, ...words, ...ADDRESSES]);
      expect(lookup.log().match(/^\[nsqlookupd\] \S+ \S+ INFO: (TCP|HTTP): listening on 127\.0\.0\.1:\d+$/gm)).toHaveLength(2);
      expect(await lookup.stop()).toBe(0);
    }
  }, 30_000);

  test("ends with 1 and says what to do if an address is in use", async () => {
    const first = await startLookupServer();
    try {
      const taken = `127.0.0.1:${first.httpPort}`;
      const second = startProcess("bunsq", [process.execPath, MAIN, "lookup", "-tcp-address=127.0.0.1:0", `-http-address=${taken}`]);
      await expect(second).rejects.toThrow(`FATAL: cannot listen on ${taken}: another program uses it`);
      await expect(second).rejects.toThrow("exited with 1");
    } finally {
      await first.stop();
    }
  }, 30_000);
});
