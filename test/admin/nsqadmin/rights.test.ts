import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { parseNetwork } from "../../../src/admin/nsqadmin/network.ts";
import type { AdminOptions } from "../../../src/admin/options.ts";
import { type AdminServer, startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { LineLogger } from "../../../src/cli/line-logger.ts";

const WRITES: [method: string, path: string, body: string][] = [
  ["POST", "/api/topics", '{"topic":"t"}'],
  ["POST", "/api/topics/t", '{"action":"pause"}'],
  ["POST", "/api/topics/t/c", '{"action":"empty"}'],
  ["DELETE", "/api/topics/t", ""],
  ["DELETE", "/api/topics/t/c", ""],
  ["DELETE", "/api/nodes/127.0.0.1:1", '{"topic":"t"}'],
];

function start(changes: Partial<AdminOptions>): AdminServer {
  const { options } = parseFlags(adminFlags(), ["-http-address=127.0.0.1:0", "-log-level=fatal"]);
  return startAdmin({ ...options, ...changes }, new LineLogger("fatal", ""));
}

describe("a request that changes something", () => {
  let lookup: Bun.Server<undefined>;
  let console: AdminServer;
  /** The calls that would have changed something. */
  const changes: string[] = [];

  beforeAll(() => {
    lookup = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => {
        if (request.method === "POST") changes.push(request.url);
        return Response.json({ producers: [], channels: [] });
      },
    });
    console = start({ lookupdHttpAddresses: [`127.0.0.1:${lookup.port}`], adminUsers: ["ann"], aclHttpHeader: "X-User" });
  });

  afterAll(async () => {
    await console.stop();
    await lookup.stop(true);
  });

  const send = async (headers: Record<string, string>) => {
    const outcomes = new Set<string>();
    changes.length = 0;
    for (const [method, path, body] of WRITES) {
      const response = await fetch(`http://127.0.0.1:${console.httpPort}${path}`, { method, headers, body });
      outcomes.add(`${response.status} ${await response.text()}`);
    }
    return [...outcomes];
  };
  const ann = { "X-User": "ann" };
  const form = "application/x-www-form-urlencoded";

  test("is refused for a user who may not", async () => {
    for (const headers of [
      {},
      { "X-User": "bob" },
      { "X-User": "ann,bob" },
      { "X-Forwarded-User": "ann" },
      { Authorization: `Basic ${btoa("ann:x")}` },
    ]) {
      expect(await send(headers as Record<string, string>)).toEqual(['403 {"message":"FORBIDDEN"}']);
    }
    expect(changes).toEqual([]);
  });

  test("is refused if a browser sends it for a page of another site", async () => {
    for (const headers of [{ "Sec-Fetch-Site": "cross-site" }, { Origin: "https://elsewhere.example" }, { Origin: "null" }]) {
      expect(await send({ ...ann, ...headers } as Record<string, string>)).toEqual(['403 {"message":"CROSS_SITE_REQUEST"}']);
    }
    expect(changes).toEqual([]);
  });

  test("is refused if it may be a form of a page", async () => {
    for (const type of [form, "text/plain;charset=UTF-8", "Multipart/Form-Data; boundary=x", " text/plain"]) {
      for (const browser of [
        { "User-Agent": "Mozilla/5.0 (X11)" },
        { Cookie: "a=b" },
        { Referer: "http://x/" },
        { "Sec-Fetch-Site": "none" },
      ]) {
        const outcomes = await send({ ...ann, "Content-Type": type, ...browser } as Record<string, string>);
        expect(outcomes).toEqual(['415 {"message":"INVALID_CONTENT_TYPE"}']);
      }
    }
    expect(changes).toEqual([]);
  });

  test("is carried out for a script, whatever type it says, and for a page of the console", async () => {
    for (const headers of [
      { "Content-Type": form },
      { "Content-Type": "application/json", "User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "same-origin" },
      { "Content-Type": "application/json", Origin: `http://127.0.0.1:${console.httpPort}` },
    ]) {
      await send({ ...ann, ...headers } as Record<string, string>);
      expect(changes.length).toBeGreaterThan(0);
    }
  });

  test("names nothing but the brokers that lookup servers list", async () => {
    changes.length = 0;
    const response = await fetch(`http://127.0.0.1:${console.httpPort}/api/nodes/127.0.0.1:${lookup.port}`, {
      method: "DELETE",
      headers: ann,
      body: '{"topic":"t"}',
    });
    expect([response.status, await response.text()]).toEqual([404, '{"message":"NODE_NOT_FOUND"}']);
    expect(changes).toEqual([]);
  });
});

test("a network has the addresses of its family that it should have", () => {
  const isIn = (cidr: string, address: string) => parseNetwork("allow-config-from-cidr", cidr)?.(address);
  expect(isIn("127.0.0.1/8", "127.255.0.9")).toBe(true);
  expect(isIn("127.0.0.1/8", "128.0.0.1")).toBe(false);
  expect(isIn("127.0.0.1/8", "::1")).toBe(false);
  expect(isIn("10.1.2.3/32", "10.1.2.3")).toBe(true);
  expect(isIn("10.1.2.3/32", "10.1.2.4")).toBe(false);
  expect(isIn("0.0.0.0/0", "1.2.3.4")).toBe(true);
  expect(isIn("fd00::/8", "fd12::1")).toBe(true);
  expect(isIn("fd00::/8", "fe80::1")).toBe(false);
  expect(isIn("fd00::/8", "127.0.0.1")).toBe(false);
  expect(parseNetwork("allow-config-from-cidr", "")).toBeUndefined();
  for (const wrong of ["x", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "::/129", "/8"]) {
    expect(() => parseNetwork("allow-config-from-cidr", wrong)).toThrow(
      `--allow-config-from-cidr (${wrong}) - invalid CIDR address: ${wrong}`,
    );
  }
});
