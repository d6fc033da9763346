import { expect, test } from "bun:test";
import { publicAddresses } from "../../../src/cluster/member/open-replication.ts";

test("addresses that are not of private networks are found, of a listener on every address those of the machine", () => {
  const own = [
    "127.0.0.1",
    "10.1.2.3",
    "172.31.0.1",
    "192.168.0.5",
    "100.64.0.1",
    "203.0.113.7",
    "::1",
    "fe80::1",
    "fd00::1",
    "2001:db8::7",
  ];
  expect(publicAddresses("0.0.0.0", own)).toEqual(["203.0.113.7", "2001:db8::7"]);
  expect(publicAddresses("::", own.slice(0, 5))).toEqual([]);
  expect(publicAddresses("172.32.0.1", [])).toEqual(["172.32.0.1"]);
  expect(publicAddresses("127.0.0.1", own)).toEqual([]);
  expect(publicAddresses("broker-1.internal", own)).toEqual([]);
});
