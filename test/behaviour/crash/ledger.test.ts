import { beforeEach, expect, test } from "bun:test";
import { decodeBody, encodeBody } from "./body.ts";
import { type ChannelLedger, type ChannelRules, ConsumerLedger, type Delivery, Ledger, type Message } from "./ledger.ts";

// The crash test is worth what its ledger notices: here it is shown each kind of broken promise, beside the kept one.

const LONG: ChannelRules = { msgTimeoutMs: 60_000, prompt: false };
const PROMPT: ChannelRules = { msgTimeoutMs: 60_000, prompt: true };
const SHORT: ChannelRules = { msgTimeoutMs: 1_000, prompt: true };

let ledger: Ledger;
let clockMs: number;

beforeEach(() => {
  ledger = new Ledger({ durableRequeueMs: 2_000, tailIsExact: true, lateBoundMs: 1_000 });
  clockMs = 1_000;
});

function made(name: string, rules = LONG): ChannelLedger {
  const channel = ledger.channel("topic", name, rules);
  channel.creatingMs = clockMs;
  channel.createdMs = clockMs;
  channel.attachedMs = clockMs;
  return channel;
}

function publish(count = 1, delayMs = 0): Message[] {
  clockMs += 1;
  return ledger.publishing("topic", count, delayMs, clockMs);
}

function published(count = 1, delayMs = 0): Message[] {
  const batch = publish(count, delayMs);
  ledger.acknowledged(batch, clockMs);
  return batch;
}

function deliver(consumer: ConsumerLedger, message: Message | undefined, attempts = 1): Delivery {
  if (!message) throw new Error("no such message");
  const delivery = ledger.delivered(consumer, message.facts, attempts, clockMs);
  if (!delivery) throw new Error("the ledger does not know it");
  return delivery;
}

function finish(consumer: ConsumerLedger, delivery: Delivery): void {
  consumer.finish(delivery, "id", clockMs);
  consumer.confirmed(1, clockMs);
}

function endLife(kind: "crash" | "clean", ...consumers: ConsumerLedger[]): void {
  for (const consumer of consumers) consumer.disconnected(clockMs);
  ledger.lifeEnded(kind, clockMs);
  clockMs += 1_000;
}

function attach(channel: ChannelLedger): ConsumerLedger {
  channel.attachedMs = clockMs;
  return new ConsumerLedger(ledger, channel);
}

function expectViolation(pattern: RegExp): void {
  expect(ledger.violations.join("\n")).toMatch(pattern);
}

test("a message that is published, delivered and finished leaves nothing to complain of", () => {
  const channel = made("a");
  const consumer = attach(channel);
  finish(consumer, deliver(consumer, published()[0]));
  endLife("clean", consumer);
  ledger.endOfRun();
  expect(ledger.violations).toEqual([]);
});

test("an acknowledged message that reached one channel of two is lost", () => {
  const consumer = attach(made("a"));
  made("b");
  finish(consumer, deliver(consumer, published()[0]));
  expect(ledger.missing().count).toBe(1);
  ledger.endOfRun();
  expectViolation(/1 messages are lost.*topic\/b.*never delivered/);
});

test("a message that was delivered, not finished and never came again is lost", () => {
  const consumer = attach(made("a"));
  deliver(consumer, published()[0]);
  endLife("crash", consumer);
  ledger.endOfRun();
  expectViolation(/1 messages are lost/);
});

test("a message without an OK need not come", () => {
  attach(made("a"));
  publish();
  ledger.endOfRun();
  expect(ledger.violations).toEqual([]);
});

test("a batch without an OK that came in part is a violation", () => {
  const consumer = attach(made("a"));
  const batch = publish(3);
  for (const message of batch.slice(0, 2)) finish(consumer, deliver(consumer, message));
  ledger.endOfRun();
  expectViolation(/unacknowledged batch 0 of 3 .*came in part: 2 per channel/);
});

test("a message without an OK that came to one channel of two is a violation", () => {
  const consumer = attach(made("a"));
  made("b");
  finish(consumer, deliver(consumer, publish()[0]));
  ledger.endOfRun();
  expectViolation(/came in part: 1,0 per channel/);
});

test("a backlog must reach the first channel and must not reach the second", () => {
  const batch = published(2);
  clockMs += 10;
  const first = attach(made("first"));
  finish(first, deliver(first, batch[0]));
  expect(ledger.missing().count).toBe(1);
  clockMs += 10;
  const second = attach(made("second"));
  expect(ledger.violations).toEqual([]);
  deliver(second, batch[0]);
  expectViolation(/came to a channel that was asked for after it was acknowledged/);
});

for (const [agoMs, wrong] of [
  [299, false],
  [300, true],
] as const) {
  test(`a message finished ${agoMs} ms before a kill ${wrong ? "must not" : "may"} come again`, () => {
    const channel = made("a");
    const consumer = attach(channel);
    const message = published()[0];
    finish(consumer, deliver(consumer, message));
    clockMs += agoMs;
    endLife("crash", consumer);
    deliver(attach(channel), message);
    if (wrong) expectViolation(/was finished 300 ms before the kill and came again/);
    else expect(ledger.violations).toEqual([]);
  });
}

test("a message finished just before a clean stop must not come again", () => {
  const channel = made("a");
  const consumer = attach(channel);
  const message = published()[0];
  finish(consumer, deliver(consumer, message));
  endLife("clean", consumer);
  deliver(attach(channel), message, 2);
  expectViolation(/before a clean stop and came again/);
});

test("a message whose FIN had no word on it before the kill may come again, and must then be finished", () => {
  const channel = made("a");
  const consumer = attach(channel);
  const message = published()[0];
  consumer.finish(deliver(consumer, message), "id", clockMs);
  clockMs += 5_000;
  endLife("crash", consumer);
  expect(ledger.missing().count).toBe(0);
  const again = attach(channel);
  const delivery = deliver(again, message);
  expect(ledger.missing().count).toBe(1);
  finish(again, delivery);
  ledger.endOfRun();
  expect(ledger.violations).toEqual([]);
});

test("a held message that comes to another consumer is a violation; after its consumer left it is not", () => {
  const channel = made("a");
  const [one, two] = [attach(channel), attach(channel)];
  const [kept, returned] = published(2);
  deliver(one, returned);
  one.disconnected(clockMs);
  clockMs += 1;
  deliver(two, returned, 2);
  expect(ledger.violations).toEqual([]);
  deliver(two, kept);
  deliver(attach(channel), kept, 2);
  expectViolation(/came again while it was held/);
});

test("a deferred message that comes early, or over a second late, is a violation", () => {
  const consumer = attach(made("a", PROMPT));
  const [early] = published(1, 500);
  const [punctual] = published(1, 500);
  const [late] = published(1, 500);
  clockMs += 300;
  deliver(consumer, early);
  expectViolation(/came 19\d\.0 ms before it was due/);
  clockMs += 200;
  deliver(consumer, punctual);
  expect(ledger.violationCount).toBe(1);
  clockMs += 1_200;
  deliver(consumer, late);
  expect(ledger.violationCount).toBe(2);
  expect(ledger.violations[1]).toMatch(/came 1\d\d\d ms late/);
});

test("a deferred message that is long due when a life ends is a violation", () => {
  const consumer = attach(made("a", PROMPT));
  published(1, 500);
  clockMs += 1_600;
  endLife("crash", consumer);
  expectViolation(/is 1100 ms late at the end of a life/);
});

test("a requeued message must not come before its delay is over, nor after a kill if the delay is a durable one", () => {
  const channel = made("a");
  const consumer = attach(channel);
  const batch = published(3);
  const [short, long] = batch.map((message) => deliver(consumer, message));
  consumer.requeue(short as Delivery, "s", 1_500, clockMs);
  consumer.requeue(long as Delivery, "l", 5_000, clockMs);
  consumer.confirmed(2, clockMs);
  clockMs += 400;
  endLife("crash", consumer);
  const again = attach(channel);
  deliver(again, batch[0]);
  expect(ledger.violations).toEqual([]);
  deliver(again, batch[1]);
  expectViolation(/came again 3600\.0 ms before its REQ's delay was over/);
});

test("a message whose REQ had no word on it before the kill may come at once or after the delay, but not later", () => {
  const channel = made("a", PROMPT);
  const consumer = attach(channel);
  const batch = published(3);
  for (const message of batch) consumer.requeue(deliver(consumer, message), "id", 3_000, clockMs);
  endLife("crash", consumer);
  const again = attach(channel);
  deliver(again, batch[0]);
  clockMs += 2_500;
  deliver(again, batch[1]);
  expect(ledger.violations).toEqual([]);
  clockMs += 1_000;
  deliver(again, batch[2]);
  expectViolation(/came \d+ ms late/);
});

test("attempts that do not grow over a clean stop are a violation, over a kill they may start again", () => {
  const channel = made("a");
  const [killed, stopped] = published(2);
  const first = attach(channel);
  deliver(first, killed, 3);
  ledger.violations.length = 0;
  endLife("crash", first);
  const second = attach(channel);
  deliver(second, killed, 1);
  deliver(second, stopped, 1);
  expect(ledger.violations).toEqual([]);
  endLife("clean", second);
  deliver(attach(channel), stopped, 1);
  expectViolation(/came with attempts 1 after attempts 1/);
});

test("a FIN may fail where messages time out, and only there; the message must then come again", () => {
  const slow = attach(made("slow", SHORT));
  const [message] = published();
  const delivery = deliver(slow, message);
  slow.finish(delivery, "id", clockMs);
  slow.failed("FIN", "id");
  slow.confirmed(1, clockMs);
  expect(ledger.violations).toEqual([]);
  expect(ledger.missing().count).toBe(1);
  const steady = attach(made("steady"));
  const [other] = published();
  steady.finish(deliver(steady, other), "id", clockMs);
  steady.failed("FIN", "id");
  expectViolation(/FIN of message 1 .*failed without cause/);
});

test("a message whose FIN was taken and that was yet given to another consumer is a violation", () => {
  const channel = made("slow", SHORT);
  const [one, two] = [attach(channel), attach(channel)];
  const [message] = published();
  one.finish(deliver(one, message), "id", clockMs);
  clockMs += 900;
  deliver(two, message, 2);
  one.confirmed(1, clockMs);
  expectViolation(/was given to another consumer although its FIN was taken/);
});

test("a touched message must not come again before its time-out has passed anew", () => {
  const channel = made("slow", SHORT);
  const consumer = attach(channel);
  const [message] = published();
  const delivery = deliver(consumer, message);
  clockMs += 800;
  consumer.touch(delivery, "id", clockMs);
  consumer.confirmed(1, clockMs);
  clockMs += 900;
  deliver(attach(channel), message, 2);
  expectViolation(/came again while it was held/);
});

test("a delivery that is read behind the next one is the broker's mistake, unless the test itself was stalled", () => {
  let stallMs = 0;
  ledger = new Ledger(ledger.promises, () => stallMs);
  const channel = made("slow", SHORT);
  const [one, two] = [attach(channel), attach(channel)];
  const [message] = published();
  deliver(one, message, 1);
  clockMs += 1_500;
  deliver(two, message, 3);
  stallMs = 1_200;
  const { violationCount } = ledger;
  expect(ledger.delivered(one, (message as Message).facts, 2, clockMs)).toBeUndefined();
  expect(ledger.violationCount).toBe(violationCount);
  stallMs = 0;
  deliver(one, message, 2);
  expectViolation(/came with attempts 2 after attempts 3/);
});

test("a body that was not published to the topic is a violation", () => {
  const consumer = attach(made("a"));
  const [message] = published();
  expect(ledger.delivered(consumer, { ...(message as Message).facts, index: 7 }, 1, clockMs)).toBeUndefined();
  expectViolation(/never published there/);
});

test("a body comes back as it went in, and no changed, cut or lengthened one does", () => {
  const facts = { number: 12, batch: 3, index: 1, batchSize: 4 };
  const body = encodeBody(facts, 100);
  expect(decodeBody(body)).toEqual(facts);
  expect(() => decodeBody(`${body.slice(0, 50)}#${body.slice(51)}`)).toThrow("corrupt");
  expect(() => decodeBody(body.slice(0, -1))).toThrow("corrupt");
  expect(() => decodeBody(`${body}x`)).toThrow("corrupt");
  expect(() => decodeBody("")).toThrow("corrupt");
});

test("a channel that was asked for, but that a kill kept from being made, leaves the backlog to the next one, or not", () => {
  const asked = made("channel");
  asked.createdMs = Number.POSITIVE_INFINITY;
  const [message] = published();
  ledger.lifeEnded("crash", clockMs);
  clockMs += 10;
  const next = made("next");
  expect([asked.isFirst, next.isFirst, asked.mayBeFirst, next.mayBeFirst]).toEqual([false, false, true, true]);
  deliver(new ConsumerLedger(ledger, next), message);
  expect(ledger.violations).toEqual([]);
});

test("what a connection held may go to another one while the broker stops", () => {
  const channel = made("channel");
  const [message] = published();
  deliver(new ConsumerLedger(ledger, channel), message);
  const other = new ConsumerLedger(ledger, channel);
  ledger.isStopping = true;
  deliver(other, message, 2);
  expect(ledger.violations).toEqual([]);
  ledger.lifeEnded("clean", clockMs);
  expect(ledger.isStopping).toBe(false);
});
