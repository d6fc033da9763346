import { describe, expect, test } from "bun:test";
import { apiRouter } from "../../../src/broker/http/routes.ts";
import { get, Router } from "../../../src/http/server/router.ts";

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

describe("a path with several parameters", () => {
  const answer = () => new Response();
  const several = new Router<unknown>(
    [
      ["/api/topics", get(answer)],
      ["/api/topics/:topic", get(answer)],
      ["/api/topics/:topic/:channel", new Map([...get(answer), ["DELETE", { handle: answer, logged: true }]])],
      ["/api/nodes/:node/x", get(answer)],
    ],
    (path) => (path.startsWith("/api/") ? undefined : { handle: answer, logged: false }),
  );

  test("is found by the number of its parts, and each parameter is taken from the path", () => {
    expect(several.parametersOf("/api/topics")).toEqual([]);
    expect(several.parametersOf("/api/topics/Orders")).toEqual(["Orders"]);
    expect(several.parametersOf("/api/topics/Orders/Mail")).toEqual(["Orders", "Mail"]);
    expect(several.parametersOf("/api/nodes/n:1/x")).toEqual(["n:1"]);
    expect(several.findEndpoint("DELETE", "/api/topics/a/b")).toBeDefined();
    for (const path of ["/api/topics/a/b/c", "/api/topics//b", "/api/topics/a/", "/api/nodes/n", "/api/nodes/n/y"]) {
      expect([path, several.findEndpoint("GET", path)]).toEqual([path, undefined]);
    }
    expect(several.allowedMethods("/api/topics/a/b")).toBe("DELETE, GET, OPTIONS");
  });

  test("is corrected, and the parameters keep their case", () => {
    expect(several.correctedPath("GET", "/api/topics/")).toBe("/api/topics");
    expect(several.correctedPath("GET", "/api/topics/T/")).toBe("/api/topics/T");
    expect(several.correctedPath("GET", "/API//Topics/T/./C")).toBe("/api/topics/T/C");
    expect(several.correctedPath("DELETE", "/API/topics/T/C")).toBe("/api/topics/T/C");
    expect(several.correctedPath("DELETE", "/API/topics/T")).toBeUndefined();
    expect(several.correctedPath("PUT", "/API/topics/T")).toBeUndefined();
    expect(several.correctedPath("GET", "/API/Nodes/N/X")).toBe("/api/nodes/N/x");
  });

  test("is not taken by what answers all other paths", () => {
    expect(several.findRest("GET", "/else")).toBeDefined();
    expect(several.findRest("POST", "/else")).toBeUndefined();
    expect(several.findRest("GET", "/api/else")).toBeUndefined();
  });
});

test("the methods of a path are listed in order, with OPTIONS", () => {
  expect(router.allowedMethods("/ping")).toBe("GET, OPTIONS");
  expect(router.allowedMethods("/pub")).toBe("OPTIONS, POST");
  expect(router.allowedMethods("/config/x")).toBe("GET, OPTIONS, PUT");
  expect(router.allowedMethods("/nothing")).toBeUndefined();
});
