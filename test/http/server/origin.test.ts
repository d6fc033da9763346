import { expect, test } from "bun:test";
import { hostSet, isForeignWrite, namesAllowedHost } from "../../../src/http/server/origin.ts";

function request(method: string, headers: Record<string, string>): Request {
  return new Request("http://broker/topic/delete", { method, headers });
}

test("a request that changes something is foreign if the browser says so, or its page has another origin", () => {
  const cases: [foreign: boolean, headers: Record<string, string>, scheme?: "https"][] = [
    [false, {}],
    [false, { host: "broker:4151" }],
    [true, { host: "broker:4151", "sec-fetch-site": "cross-site" }],
    [true, { host: "broker:4151", "sec-fetch-site": "cross-site", origin: "http://broker:4151" }],
    [false, { host: "broker:4151", "sec-fetch-site": "same-origin", origin: "https://admin.example" }],
    [false, { host: "broker:4151", "sec-fetch-site": "none" }],
    [true, { host: "broker:4151", "sec-fetch-site": "same-site", origin: "http://broker:3000" }],
    [false, { host: "broker:4151", origin: "http://broker:4151" }],
    [false, { host: "Broker", origin: "http://broker" }],
    [false, { host: "broker:80", origin: "http://broker" }],
    [false, { host: "broker:443", origin: "https://broker" }, "https"],
    [true, { host: "broker:4151", origin: "http://evil.example" }],
    [true, { host: "broker:4151", origin: "http://broker:4152" }],
    [true, { host: "broker:4151", origin: "null" }],
    [true, { host: "broker:4151", origin: "" }],
    [true, { origin: "http://broker" }],
  ];
  for (const [foreign, headers, scheme = "http"] of cases) {
    for (const method of ["POST", "PUT", "DELETE"])
      expect([headers, isForeignWrite(request(method, headers), scheme)]).toEqual([headers, foreign]);
    expect([headers, isForeignWrite(request("GET", headers), scheme)]).toEqual([headers, false]);
  }
});

test("a name in Host is allowed whatever its case and port, and any is if none is given", () => {
  const allowed = hostSet(["Broker.example", "127.0.0.1:4151", "[::1]"]);
  const isAllowed = (host?: string) => namesAllowedHost(request("GET", host === undefined ? {} : { host }), allowed);
  for (const host of ["broker.example", "BROKER.EXAMPLE:4151", "broker.example.:1", "127.0.0.1", "127.0.0.1:9", "[::1]:4151", "[::1]"]) {
    expect([host, isAllowed(host)]).toEqual([host, true]);
  }
  for (const host of ["evil.example", "broker.example.evil", "127.0.0.2", "[::2]:4151", "", ":4151", "broker.example:4151:1"]) {
    expect([host, isAllowed(host)]).toEqual([host, false]);
  }
  expect(isAllowed()).toBe(false);
  expect(namesAllowedHost(request("GET", {}), hostSet([]))).toBe(true);
});
