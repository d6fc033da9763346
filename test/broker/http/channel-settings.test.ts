import { expect, test } from "bun:test";
import { WithHttp } from "../../support/with-http.ts";

const AT = "topic=t&channel=c";

async function delivery(server: WithHttp): Promise<unknown> {
  const stats = (await (await server.fetch("GET", "/stats?format=json&topic=t")).json()) as {
    topics: { channels: { delivery?: unknown }[] }[];
  };
  return stats.topics[0]?.channels[0]?.delivery;
}

test("a channel is made with settings, which /stats shows and later calls change", async () => {
  await using server = WithHttp.start();
  await server.call("POST", "/topic/create?topic=t");
  expect(await server.call("POST", `/channel/create?${AT}`)).toBe("200");
  expect(await delivery(server)).toBeUndefined();
  const filter = { type: 1, inverse: false, filter_ext_key: "k", filter_data: "v" };
  const settings = `ordered=key&filter=${encodeURIComponent(JSON.stringify(filter))}&max_attempts=4&dead_letter_topic=dead`;
  expect(await server.call("POST", `/channel/create?${AT}&${settings}`)).toBe("200");
  const counts = { blocked_count: 0, filtered_count: 0, dead_letter_count: 0 };
  expect(await delivery(server)).toEqual({ order: "key", filter, max_attempts: 4, dead_letter_topic: "dead", ...counts });
  expect(await server.call("POST", `/channel/setorder?${AT}&order=true`)).toBe("200");
  expect(await delivery(server)).toMatchObject({ order: "partition", max_attempts: 4 });
});

test("settings that cannot be used are refused, and make no channel", async () => {
  await using server = WithHttp.start();
  await server.call("POST", "/topic/create?topic=t");
  for (const [query, code] of [
    ["ordered=both", "INVALID_ARG_ORDER"],
    ["filter=x", "INVALID_ARG_FILTER"],
    ['filter={"type":9}', "INVALID_ARG_FILTER"],
    ["max_attempts=3", "INVALID_ARG_DEAD_LETTER_TOPIC"],
    ["max_attempts=x&dead_letter_topic=d", "INVALID_ARG_MAX_ATTEMPTS"],
    ["dead_letter_topic=d", "INVALID_ARG_MAX_ATTEMPTS"],
    ["max_attempts=3&dead_letter_topic=t", "INVALID_ARG_DEAD_LETTER_TOPIC"],
  ]) {
    expect(await server.call("POST", `/channel/create?${AT}&${query}`), query).toBe(`400 {"message":"${code}"}`);
  }
  expect(server.broker.registry.topic("t").channels.size).toBe(0);
  expect(await server.call("POST", `/channel/setorder?${AT}&order=key`)).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
  await server.call("POST", `/channel/create?${AT}`);
  expect(await server.call("POST", `/channel/setorder?${AT}`)).toBe('400 {"message":"MISSING_ARG_ORDER"}');
  expect(await server.call("POST", `/channel/setorder?${AT}&order=x`)).toBe('400 {"message":"INVALID_ARG_ORDER"}');
});

test("/channel/settings shows how a channel delivers, and changes what is given", async () => {
  await using server = WithHttp.start();
  await server.call("POST", "/topic/create?topic=t");
  expect(await server.call("GET", `/channel/settings?${AT}`)).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
  expect(await server.call("POST", `/channel/settings?${AT}&ordered=key`)).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
  await server.call("POST", `/channel/create?${AT}`);
  const settings = async (method: string, more = "") => (await server.fetch(method, `/channel/settings?${AT}${more}`)).json();
  const limits = { skip: false, skip_zan_test: false, client_limits: [], rate_limit: 0, rate_limit_kb: 0 };
  const plain = { topic_name: "t", channel_name: "c", order: "none", filter: null, max_attempts: 0, dead_letter_topic: "", ...limits };
  expect(await settings("GET")).toEqual(plain);
  const filter = { type: 1, inverse: false, filter_ext_key: "k", filter_data: "v" };
  const filtered = { ...plain, order: "key", filter };
  expect(await settings("POST", `&ordered=key&filter=${encodeURIComponent(JSON.stringify(filter))}`)).toEqual(filtered);
  expect(await settings("POST", "&max_attempts=3&dead_letter_topic=dead")).toEqual({
    ...filtered,
    max_attempts: 3,
    dead_letter_topic: "dead",
  });
  expect(await settings("POST", "&max_attempts=0&dead_letter_topic=")).toEqual(filtered);
  expect(await settings("POST", "&filter=&ordered=none")).toEqual(plain);
  expect(await server.call("POST", `/channel/settings?${AT}&max_attempts=3`)).toBe('400 {"message":"INVALID_ARG_DEAD_LETTER_TOPIC"}');
  expect(await settings("GET")).toEqual(plain);
});
