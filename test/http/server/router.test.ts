import { describe, expect, test } from "bun:test";
import { apiRouter } from "../../../src/broker/http/routes.ts";

const router = apiRouter(true);

test("an endpoint is found by method and path, and its parameter is taken from the path", () => {
  expect(router.findEndpoint("GET", "/ping")?.logged).toBe(true);
  expect(router.findEndpoint("POST", "/pub")?.logged).toBe(false);
  expect(router.findEndpoint("POST", "/ping")).toBeUndefined();
  expect(router.findEndpoint("GET", "/nothing")).toBeUndefined();
  expect(router.findEndpoint("GET", "/config/log_level")).toBe(router.findEndpoint("GET", "/config/anything")!);
  expect(router.findEndpoint("GET", "/config/")).toBeUndefined();
  expect(router.findEndpoint("GET", "/config/a/b")).toBeUndefined();
  expect(router.findEndpoint("constructor", "/ping")).toBeUndefined();
  expect(router.findEndpoint("GET", "constructor")).toBeUndefined();
  expect(router.parametersOf("/config/log_level")).toEqual(["log_level"]);
  expect(router.parametersOf("/ping")).toEqual([]);
});

describe("a path is corrected as by nsqd's router", () => {
  // Each was observed with nsqd 1.3.0.
  const cases: [method: string, path: string, corrected: string | undefined][] = [
    ["GET", "/ping/", "/ping"],
    ["GET", "/PING", "/ping"],
    ["GET", "//ping", "/ping"],
    ["GET", "/ping//", "/ping"],
    ["GET", "/./ping", "/ping"],
    ["GET", "/a/../ping", "/ping"],
    ["GET", "/../ping", "/ping"],
    ["POST", "/PUB", "/pub"],
    ["POST", "/pub/", "/pub"],
    ["POST", "/Topic/Create/", "/topic/create"],
    ["GET", "/PUB", undefined],
    ["HEAD", "/ping/", undefined],
    ["DELETE", "/ping/", undefined],
    ["GET", "/", undefined],
    ["GET", "", undefined],
    ["GET", "/pin", undefined],
    ["GET", "/ping/x", undefined],
    ["POST", "/topic/", undefined],
    ["GET", "/config", undefined],
    ["GET", "/config/", undefined],
    ["GET", "/config//", "/config/"],
    ["GET", "/CONFIG//", undefined],
    ["GET", "/config/x/", "/config/x"],
    ["GET", "/CONFIG/Log_Level", "/config/Log_Level"],
    ["PUT", "//config/x", "/config/x"],
    ["GET", "/config/x/y", undefined],
  ];
  for (const [method, path, corrected] of cases) {
    test(`${method} ${path}`, () => {
      expect(router.correctedPath(method, path)).toBe(corrected);
    });
  }
});

test("the methods of a path are listed in order, with OPTIONS", () => {
  expect(router.allowedMethods("/ping")).toBe("GET, OPTIONS");
  expect(router.allowedMethods("/pub")).toBe("OPTIONS, POST");
  expect(router.allowedMethods("/config/x")).toBe("GET, OPTIONS, PUT");
  expect(router.allowedMethods("/nothing")).toBeUndefined();
});
