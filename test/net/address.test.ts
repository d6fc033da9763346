import { describe, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { StartError } from "../../src/base/start-error.ts";
import { formatAddress, listenError, parseAddress } from "../../src/net/address.ts";

const hasIpv6 = JSON.stringify(networkInterfaces()).includes('"IPv6"');
const EVERY = hasIpv6 ? "::" : "0.0.0.0";

describe("an address is parsed as in Go", () => {
  const good: [text: string, hostname: string, port: number][] = [
    ["127.0.0.1:4151", "127.0.0.1", 4151],
    [":4151", EVERY, 4151],
    ["0.0.0.0:4151", EVERY, 4151],
    ["[::]:4151", EVERY, 4151],
    ["[::1]:4151", "::1", 4151],
    ["localhost:0", "127.0.0.1", 0],
    ["broker.example.com:65535", "broker.example.com", 65535],
  ];
  for (const [text, hostname, port] of good) {
    test(text, () => {
      expect(parseAddress(text)).toEqual({ hostname, port });
    });
  }
  for (const text of [
    "",
    "4151",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:x",
    "127.0.0.1:65536",
    "::1:4151",
    "[::1]",
    "/run/nsqd.sock",
    "a:-1",
    "a:1 ",
  ]) {
    test(`${JSON.stringify(text)} is refused`, () => {
      expect(() => parseAddress(text)).toThrow(StartError);
    });
  }
});

test("an address is formatted as in Go", () => {
  expect(formatAddress("127.0.0.1", 1)).toBe("127.0.0.1:1");
  expect(formatAddress("::", 4151)).toBe("[::]:4151");
  expect(formatAddress("::ffff:10.0.0.1", 5)).toBe("10.0.0.1:5");
});

test("an error says why an address cannot be listened on, and what to do about it", () => {
  const address = { hostname: "::", port: 80 };
  const because = (code: string) => listenError("http-address", address, Object.assign(new Error(code), { code })).message;
  expect(because("EADDRINUSE")).toContain("cannot listen on [::]:80: another program uses it");
  expect(because("EADDRNOTAVAIL")).toContain("no such address");
  expect(because("EACCES")).toContain("port above 1023");
  expect(because("ESTRANGE")).toContain("ESTRANGE");
  for (const code of ["EADDRINUSE", "EADDRNOTAVAIL", "EACCES", "ESTRANGE"]) expect(because(code)).toContain("-http-address");
});
