import { describe, expect, test } from "bun:test";
import { BadAnswer, Permissions } from "../../../src/broker/auth/permissions.ts";

const line = (changes: object = {}) => ({ topic: "^orders$", channels: ["^audit$"], permissions: ["subscribe"], ...changes });
const read = (changes: object = {}) =>
  Permissions.parse(JSON.stringify({ ttl: 60, identity: "x", identity_url: "http://x", authorizations: [line()], ...changes }));

describe("an auth server's answer", () => {
  test("has the client's identity, and allows what one of its entries allows", () => {
    const permissions = read({
      authorizations: [line(), line({ topic: "^logs\\.", channels: [".*"], permissions: ["publish", "subscribe"] })],
    });
    expect(permissions).toMatchObject({ identity: "x", identityUrl: "http://x", ttlS: 60, count: 2 });
    expect(permissions.allows("orders", "audit")).toBeTrue();
    expect(permissions.allows("orders", "other")).toBeFalse();
    expect(permissions.allows("orders2", "audit")).toBeFalse();
    expect(permissions.allows("orders", "")).toBeFalse();
    expect(permissions.allows("logs.web", "any")).toBeTrue();
    expect(permissions.allows("logs.web", "")).toBeTrue();
  });

  test("allows publishing only if a channel pattern matches the empty name, as in nsqd", () => {
    const publisher = (channels: string[]) => read({ authorizations: [line({ channels, permissions: ["publish"] })] }).allows("orders", "");
    expect(publisher([".*"])).toBeTrue();
    expect(publisher([""])).toBeTrue();
    expect(publisher(["a", "^$"])).toBeTrue();
    expect(publisher(["^audit$"])).toBeFalse();
    expect(publisher([])).toBeFalse();
  });

  test("is parsed as Go parses JSON: keys in any case, nulls as missing, and unknown keys ignored", () => {
    const permissions = Permissions.parse(
      '{"TTL": 5, "Identity": null, "more": {"ttl": "x"}, "AUTHORIZATIONS": [{"Topic": "a", "Channels": [null], "Permissions": ["publish"]}, null]}',
    );
    expect(permissions).toMatchObject({ identity: "", identityUrl: "", ttlS: 5, count: 2 });
    expect(permissions.allows("a", "")).toBeTrue();
    expect(Permissions.parse('{"ttl": 1}').count).toBe(0);
    expect(Permissions.parse('{"ttl": 1, "authorizations": null}').count).toBe(0);
  });

  const refused: [text: string, why: string][] = [
    ["", "not JSON"],
    ["Unauthorized", "not JSON"],
    ['{"ttl": 60', "not JSON"],
    ["null", "invalid TTL 0"],
    ["{}", "invalid TTL 0"],
    ["[]", "not have the form"],
    ['"ok"', "not have the form"],
    ["7", "not have the form"],
    ['{"ttl": -1}', "invalid TTL -1"],
    ['{"ttl": "60"}', "not have the form"],
    ['{"ttl": 60.5}', "not have the form"],
    ['{"ttl": 60.0}', "not have the form"],
    ['{"ttl": 6e1}', "not have the form"],
    ['{"ttl": 60, "identity": 7}', "not have the form"],
    ['{"ttl": 60, "authorizations": {}}', "not have the form"],
    ['{"ttl": 60, "authorizations": ["a"]}', "not have the form"],
    ['{"ttl": 60, "authorizations": [{"topic": 7}]}', "not have the form"],
    ['{"ttl": 60, "authorizations": [{"channels": "a"}]}', "not have the form"],
    ['{"ttl": 60, "authorizations": [{"channels": [7]}]}', "not have the form"],
    ['{"ttl": 60, "authorizations": [{"permissions": ["admin"]}]}', "unknown permission admin"],
    ['{"ttl": 60, "authorizations": [{"permissions": [null]}]}', "unknown permission"],
    ['{"ttl": 60, "authorizations": [{"topic": "("}]}', 'unable to compile topic "("'],
    ['{"ttl": 60, "authorizations": [{"channels": ["(?=a)"]}]}', 'unable to compile channel "(?=a)"'],
  ];
  for (const [text, why] of refused) {
    test(`${text === "" ? "(nothing)" : text} cannot be used`, () => {
      expect(() => Permissions.parse(text)).toThrow(why);
      expect(() => Permissions.parse(text)).toThrow(BadAnswer);
    });
  }

  test("with patterns that exceed the limit together cannot be used", () => {
    const authorizations = Array.from({ length: 300 }, () => line({ topic: "[a-z]{1000}" }));
    expect(() => read({ authorizations })).toThrow("expression too large");
    expect(read({ authorizations: authorizations.slice(0, 100) }).count).toBe(100);
  });
});
