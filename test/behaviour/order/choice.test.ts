import { expect, spyOn, test } from "bun:test";
import { recordAt } from "../../../src/broker/storage/log/records.ts";
import { ChannelSettings } from "../../../src/broker/topics/channel/channel-settings.ts";
import { FilterError, HeaderFilter } from "../../../src/broker/topics/channel/selective/header-filter.ts";
import { SettingsError } from "../../../src/broker/topics/channel/settings-error.ts";
import { bodyAt, HeaderReader } from "../../../src/frame/header.ts";
import { writeRecord } from "../../../src/frame/layout.ts";
import { Random } from "../../support/random.ts";
import { headerOf } from "./support/keyed-consumer.ts";
import { OrderedBroker } from "./support/ordered-broker.ts";

function record(text: string): Buffer {
  const frame = Buffer.alloc(4000);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const end = writeRecord(frame, view, 0, headerOf({ text }), Buffer.from("body"), 0, 4, 1, 0, { high: 0, low: 0 });
  return frame.subarray(0, end);
}

/** The messages that Youzan's filters were tried on, with what the running server answered. */
const TEXTS = ['{"k":"v1"}', '{"k":"v2","z":"1"}', '{"k":5}', '{"n":{"k":"v1"}}', '{"z":"1"}', ""];

function taken(filter: object): number[] {
  const made = HeaderFilter.fromJson(filter);
  return TEXTS.flatMap((text, i) => (made.takes(record(text), 0) ? [i + 1] : []));
}

const PAIRS = [
  { filter_ext_key: "k", filter_data: "v2" },
  { filter_ext_key: "z", filter_data: "1" },
];

test("filters take what Youzan's take", () => {
  expect(taken({ type: 1, filter_ext_key: "k", filter_data: "v1" })).toEqual([1]);
  expect(taken({ type: 1, filter_ext_key: "k", filter_data: "v1", inverse: true })).toEqual([2, 3, 4, 5, 6]);
  expect(taken({ type: 1, filter_ext_key: "n.k", filter_data: "v1" })).toEqual([4]);
  expect(taken({ type: 1, filter_ext_key: "k", filter_data: "5" })).toEqual([]);
  expect(taken({ type: 2, filter_ext_key: "k", filter_data: "^v[0-9]$" })).toEqual([1, 2]);
  expect(taken({ type: 2, filter_ext_key: "k", filter_data: "2" })).toEqual([2]);
  expect(taken({ type: 3, filter_ext_key: "k", filter_data: "v*" })).toEqual([1, 2]);
  expect(taken({ type: 3, filter_ext_key: "k", filter_data: "{v[!2-9],w?}" })).toEqual([1]);
  expect(taken({ type: 4, filter_ext_key: "all", filter_data_list: PAIRS })).toEqual([2]);
  expect(taken({ type: 4, filter_ext_key: "any", filter_data_list: PAIRS })).toEqual([2, 5]);
  expect(taken({ type: 4, filter_ext_key: "any", filter_data_list: PAIRS, inverse: true })).toEqual([1, 3, 4, 6]);
});

test("a value is found however the producer has escaped it", () => {
  const filter = HeaderFilter.fromJson({ type: 1, filter_ext_key: "k", filter_data: 'a/"é' });
  for (const text of ['{"k":"a/\\"é"}', '{"k":"a\\/\\u0022\\u00e9"}', '{"\\u006b" : "a/\\"\\u00e9"}']) {
    expect(filter.takes(record(text), 0), text).toBe(true);
  }
  expect(HeaderFilter.fromJson({ type: 1, filter_ext_key: "k", filter_data: "é" }).takes(record('{"k":"é"}'), 0)).toBe(true);
});

test("filters that cannot be used are refused, and say why", () => {
  const bad = [
    ...[null, [], "k", {}, { type: 5, filter_ext_key: "k", filter_data: "v" }, { type: 1, filter_ext_key: "", filter_data: "v" }],
    ...[
      { type: 1, filter_ext_key: "k" },
      { type: 2, filter_ext_key: "k", filter_data: "(" },
      { type: 2, filter_ext_key: "k", filter_data: "(?=a)" },
    ],
    ...[
      { type: 3, filter_ext_key: "k", filter_data: "{a" },
      { type: 3, filter_ext_key: "k", filter_data: "[a" },
    ],
    ...[
      { type: 4, filter_ext_key: "some", filter_data_list: PAIRS },
      { type: 4, filter_ext_key: "all", filter_data_list: [] },
    ],
    { type: 4, filter_ext_key: "all", filter_data_list: [null] },
    { type: 1, filter_ext_key: "k", filter_data: "v", inverse: "yes" },
  ];
  for (const filter of bad) expect(() => HeaderFilter.fromJson(filter), JSON.stringify(filter)).toThrow(FilterError);
});

test("settings are decoded as they were encoded, and bad ones are refused", () => {
  const filter = { type: 1, filter_ext_key: "k", filter_data: "v" };
  const settings = ChannelSettings.fromJson({ order: "key", filter, max_attempts: 5, dead_letter_topic: "dead" });
  expect(ChannelSettings.decode(settings.encode()).encode()).toBe(settings.encode());
  expect(ChannelSettings.DEFAULT.encode()).toBe("{}");
  expect(settings.with({ order: "none" }).order).toBe("none");
  const bad = [
    ...[[], { order: "both" }, { max_attempts: -1, dead_letter_topic: "d" }, { max_attempts: 1.5, dead_letter_topic: "d" }],
    ...[{ max_attempts: 3 }, { dead_letter_topic: "d" }, { max_attempts: 3, dead_letter_topic: "no topic" }, { filter: {} }],
  ];
  for (const json of bad) expect(() => ChannelSettings.fromJson(json), JSON.stringify(json)).toThrow(SettingsError);
  expect(() => ChannelSettings.decode("{")).toThrow(SettingsError);
});

test("a channel's filter finishes what it does not take, and delivers the rest in order", async () => {
  await using broker = new OrderedBroker({ filter: { type: 1, filter_ext_key: "k", filter_data: "v" } });
  for (let i = 0; i < 3000; i++) broker.publish(`${i}`, { text: i % 100 === 7 ? '{"k":"v"}' : '{"k":"other"}' });
  const consumer = broker.consumer(5);
  const came: string[] = [];
  while (came.length < 30) {
    await broker.pass();
    came.push(...consumer.finishAll());
  }
  await broker.pass();
  expect(came).toEqual(Array.from({ length: 30 }, (_, i) => `${i * 100 + 7}`));
  expect(broker.channel.filteredCount).toBe(2970);
  expect(broker.channel.depth).toBe(0);
  expect(broker.part.floor).toBe(3000);
});

test("what a filter has finished stays counted when the channel chooses no more", async () => {
  await using broker = new OrderedBroker({ order: "key", filter: { type: 1, filter_ext_key: "k", filter_data: "v" } });
  broker.consumer(5);
  for (let i = 0; i < 7; i++) broker.publish(`${i}`);
  await broker.pass();
  broker.channel.changeSettings({ order: "none", filter: null });
  await broker.pass();
  expect(broker.part.delivery.selective).toBeUndefined();
  expect(broker.channel.filteredCount).toBe(7);
});

/** It has to remember where each `a` of the last two hundred letters was. */
const LABORIOUS = { type: 2, filter_ext_key: "k", filter_data: "a[ab]{200}c" };

/** A header with 1,000 letters, none of which a match is in. */
function laborious(): string {
  const random = new Random(1);
  return `{"k":"${Array.from({ length: 1000 }, () => random.pick(["a", "b"])).join("")}"}`;
}

test("an expression that is much work does not hold up the broker: a turn does a part of it", async () => {
  const text = laborious();
  for (const isOwn of [true, false]) {
    await using broker = new OrderedBroker(isOwn ? { filter: LABORIOUS } : {});
    for (let i = 0; i < 20; i++) broker.publish(`${i}`, { text });
    await broker.pass();
    broker.consumer(100, isOwn ? {} : { filter: LABORIOUS });
    const steps: number[] = [];
    for (let before = 0; before < 20; before = broker.channel.filteredCount) {
      broker.part.dispatch(broker.nowMs);
      steps.push(broker.channel.filteredCount - before);
    }
    expect(Math.max(...steps)).toBeLessThan(5);
    expect(broker.channel.depth).toBe(0);
  }
});

test("a value that is longer than expressions are matched with fits none of them", () => {
  const long = "v".repeat(1025);
  const takes = (filter: object, value: string) => HeaderFilter.fromJson(filter).takes(record(JSON.stringify({ k: value })), 0);
  for (const filter of [
    { type: 2, filter_ext_key: "k", filter_data: "v" },
    { type: 3, filter_ext_key: "k", filter_data: "v*" },
  ]) {
    expect(takes(filter, long.slice(1))).toBe(true);
    expect(takes(filter, long)).toBe(false);
    expect(takes({ ...filter, inverse: true }, long)).toBe(true);
  }
  expect(takes({ type: 2, filter_ext_key: "k", filter_data: "v" }, "v")).toBe(true);
  expect(() => HeaderFilter.fromJson({ type: 2, filter_ext_key: "k", filter_data: "a{251}" })).toThrow("the expression is too large");
});

test("a tag goes to those who want it, and nobody waits behind a message that no one takes", async () => {
  await using broker = new OrderedBroker({});
  const red = broker.consumer(10, { tag: "red" });
  for (const tag of ["blue", "red", "", "red"]) broker.publish(`m ${tag}`, { tag });
  await broker.pass();
  expect(red.finishAll()).toEqual(["m red", "m red"]);
  expect(broker.channel.depth).toBe(2);
  const anybody = broker.consumer(10);
  await broker.pass();
  expect(anybody.finishAll()).toEqual(["m blue", "m "]);
  broker.publish("m red", { tag: "red" });
  await broker.pass();
  expect(anybody.take()).toEqual([]);
  // It had one in flight, which goes to the others with its tag gone.
  broker.disconnect(red);
  await broker.pass();
  expect(anybody.finishAll()).toEqual(["m red"]);
});

test("a sample is drawn message by message, in a channel that chooses as in any other", async () => {
  for (const settings of [{}, { max_attempts: 5, dead_letter_topic: "dead" }]) {
    await using broker = new OrderedBroker(settings);
    for (let i = 0; i < 40; i++) broker.publish(`${i}`);
    await broker.pass();
    const consumer = broker.consumer(100);
    consumer.sampleRate = 50;
    let drawn = 0;
    const random = spyOn(Math, "random").mockImplementation(() => (drawn++ % 4) / 4);
    try {
      broker.part.dispatch(broker.nowMs);
    } finally {
      random.mockRestore();
    }
    expect(consumer.take()).toEqual(Array.from({ length: 40 }, (_, i) => `${i}`).filter((_, i) => i % 4 !== 3));
    expect(broker.channel.depth).toBe(0);
  }
});

test("a message goes to a consumer whose filter takes it, and is finished if none does", async () => {
  await using broker = new OrderedBroker({});
  const filterOf = (data: string) => ({ filter: { type: 1, filter_ext_key: "k", filter_data: data } });
  const one = broker.consumer(10, filterOf("1"));
  const two = broker.consumer(10, filterOf("2"));
  for (const k of ["2", "1", "3", "2"]) broker.publish(k, { text: `{"k":"${k}"}` });
  await broker.pass();
  expect(one.finishAll()).toEqual(["1"]);
  expect(two.finishAll()).toEqual(["2", "2"]);
  expect(broker.channel.filteredCount).toBe(1);
  // Where a consumer has a tag and no filter, somebody may still come who takes it.
  broker.consumer(10, { tag: "red" });
  broker.publish("3", { text: '{"k":"3"}' });
  await broker.pass();
  expect(broker.channel.filteredCount).toBe(1);
  expect(broker.channel.depth).toBe(1);
});

test("a message that was delivered too often is moved with its header and why, and its key goes on", async () => {
  await using broker = new OrderedBroker({ order: "key", max_attempts: 3, dead_letter_topic: "dead" });
  broker.publish("poison", { key: "a", tag: "t", text: '{"n":12345678901234567890}' });
  broker.publish("next", { key: "a" });
  const consumer = broker.consumer(5);
  for (let attempt = 1; attempt <= 3; attempt++) {
    await broker.pass();
    const [{ sequence, attempts, body }] = consumer.deliveries.splice(0);
    expect({ attempts, body }).toEqual({ attempts: attempt, body: "poison" });
    broker.part.requeue(consumer, sequence, 0);
  }
  await broker.pass(20);
  expect(consumer.finishAll()).toEqual(["next"]);
  expect(broker.channel.deadLetterCount).toBe(1);
  const { log } = broker.cut.broker.registry.topic("dead").partitions[0];
  const moved = recordAt(log, 0);
  if (moved === undefined) throw new Error("there is no dead letter");
  const { buffer, from, to } = moved;
  const header = new HeaderReader();
  header.read(buffer, from);
  expect(buffer.toString("latin1", bodyAt(buffer, from), to)).toBe("poison");
  expect(buffer.toString("latin1", header.keyFrom, header.keyTo)).toBe("a");
  expect(buffer.toString("latin1", header.tagFrom, header.tagTo)).toBe("t");
  expect(buffer.toString("latin1", header.textFrom, header.textTo)).toBe(
    '{"n":12345678901234567890,"bunsq-dead-letter-topic":"t","bunsq-dead-letter-channel":"c","bunsq-dead-letter-reason":"max_attempts","bunsq-dead-letter-attempts":"3"}',
  );
});
