import { expect, test } from "bun:test";
import { grants } from "../../../src/admin/page/state/roles.ts";
import { brokerPath, channelPath, routeOf, topicPath, withQuery } from "../../../src/admin/page/state/routes.ts";

const none = new URLSearchParams();

test("nsqadmin's links lead to the views that show the same", () => {
  const paths = ["/", "/topics/a", "/topics/a/b", "/nodes", "/nodes/10.0.0.1:4151", "/counter", "/lookup"];
  expect(paths.map((path) => routeOf(path, none).view)).toEqual([
    "overview",
    "topic",
    "channel",
    "brokers",
    "broker",
    "counter",
    "lookups",
  ]);
});

test("names come back from a path as they went in", () => {
  const names = ["orders", "a.b-c_d", "sessions#ephemeral"];
  for (const topic of names) {
    expect(routeOf(topicPath(topic), none)).toMatchObject({ view: "topic", topic });
    expect(routeOf(channelPath(topic, "c#ephemeral"), none)).toMatchObject({ view: "channel", topic, channel: "c#ephemeral" });
  }
  expect(routeOf(brokerPath("[::1]:4151"), none)).toMatchObject({ view: "broker", broker: "[::1]:4151" });
});

test("a slash at the end changes nothing, and other paths are no views", () => {
  expect(routeOf("/topics/", none).view).toBe("topics");
  expect(routeOf("/topics/a/", none)).toMatchObject({ view: "topic", topic: "a" });
  expect(["/nope", "/topics/a/b/c", "/nodes/a/b", "/constructor"].map((path) => routeOf(path, none).view)).toEqual(
    Array(4).fill("unknown"),
  );
  expect(routeOf("/topics/%zz", none)).toMatchObject({ view: "topic", topic: "%zz" });
});

test("parameters without a value are left out", () => {
  expect(withQuery("/topics", { sort: "-depth", filter: "", offset: undefined, limit: 200 })).toBe("/topics?sort=-depth&limit=200");
  expect(withQuery("/topics", {})).toBe("/topics");
});

test("a role holds for the topics that its pattern fits", () => {
  const roles = { "*": "viewer", "orders.*": "operator", "test-*": "admin" } as const;
  expect(grants(roles, "viewer", "anything")).toBe(true);
  expect(grants(roles, "operator", "orders.eu")).toBe(true);
  expect(grants(roles, "operator", "ordersXeu")).toBe(false);
  expect(grants(roles, "admin", "orders.eu")).toBe(false);
  expect(grants(roles, "admin", "test-1")).toBe(true);
  expect(grants(roles, "admin", "")).toBe(false);
  expect(grants({}, "viewer", "a")).toBe(false);
});
