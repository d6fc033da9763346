import { expect, test } from "bun:test";
import { recordAt } from "../../../src/broker/storage/log/records.ts";
import { expectNothing, messages } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { WithHttp } from "../../support/with-http.ts";
import { type HttpDifference, HttpPlayer } from "./support/http-player.ts";
import { type HttpSection, readHttpTranscript } from "./support/http-transcript.ts";
import { makeTopic } from "./support/site.ts";

// Calls that were sent to Youzan's nsqd, and its answers: the same calls, the same answers, but for times and offsets.

const NSQS_CODE = "the code is NSQ's, as in all calls that NSQ has";
const UNKNOWN_404 = "what does not exist is told, in each call";
const NO_CLUSTER = "this broker is alone, and says so as Youzan's does then; it is no fault of its own";
const NOT_NEEDED = "it mends or tunes what this broker does not have";
const NO_FLAG = "there is no such option here";
const ANY_MESSAGE = "a message is finished whoever has it, as by /message/finish with an id";

function difference(call: string, answer: string, why: string, at?: number): HttpDifference {
  return { call, answer, why, ...(at === undefined ? {} : { at }) };
}

function code(status: number, text: string): string {
  return `${status} {"message":"${text}"}`;
}

const NOT_THERE = code(404, "NOT_FOUND");
const DISABLED = code(400, "Coordinator is disabled.");

function section(name: string, title: string): HttpSection {
  const found = readHttpTranscript(name).find((one) => one.title.startsWith(title));
  if (found === undefined) throw new Error(`no section ${title} in ${name}`);
  return found;
}

/** A broker with the topic, and one that has another partition of it. */
async function brokers(): Promise<[WithHttp, WithHttp]> {
  const server = WithHttp.start();
  makeTopic(server.broker, "plain", { extended: false });
  const elsewhere = WithHttp.start();
  expect(await elsewhere.call("POST", "/topic/create?topic=plain&partition_num=2&partitions=1")).toBe("200");
  return [server, elsewhere];
}

test("publishes, what brokers say of themselves, and what is not there", async () => {
  const [server, elsewhere] = await brokers();
  await using _server = server;
  await using _elsewhere = elsewhere;
  const info = JSON.stringify(await server.json("GET", "/info")).replace(/"start_time":\d+/, '"start_time":0');
  const stats = JSON.stringify(await server.json("GET", "/stats?format=json&topic=plain"));
  expect(stats).toContain('"topic_name":"plain"');
  const differences = [
    difference(
      "GET /info",
      `200 ${info.replace(/"version":"[^"]*"/, '"version":""')}`,
      "NSQ's keys, and no ha_support: there is no cluster",
    ),
    difference("GET /coordinator/stats", DISABLED, NO_CLUSTER),
    difference("GET /coordinator/stats?topic=plain&partition=0", DISABLED, NO_CLUSTER),
    difference(
      "POST /pub?topic=plain&partition=0 (another broker)",
      code(409, "PARTITION_NOT_HERE"),
      "/pub is NSQ's, and has codes of its own for partitions; /pub_ext has Youzan's. Errors are not in an envelope",
    ),
    difference("POST /pub?topic=nosuch", "200 OK", "as in NSQ, /pub makes the topic"),
    difference("POST /pub?topic=plain", code(400, "MSG_EMPTY"), NSQS_CODE, 1),
    difference("POST /topic/create?topic=foo", "200", "brokers make and delete topics, as in NSQ"),
    difference("POST /topic/delete?topic=foo", "200", "brokers make and delete topics, as in NSQ"),
    difference(
      "POST /channel/create?topic=plain&partition=0&channel=ch (another broker)",
      code(404, "PARTITION_NOT_FOUND"),
      "a code of its own for partitions",
    ),
    difference("POST /channel/create?topic=reg&channel=ch", code(404, "TOPIC_NOT_FOUND"), NSQS_CODE),
  ];
  const player = new HttpPlayer(server, elsewhere, differences);
  const [first] = readHttpTranscript("b1");
  const isStats = ({ target }: { target: string }) => target.startsWith("/stats");
  const calls = (first as HttpSection).exchanges;
  await player.section({ title: "", firsts: [], exchanges: calls.filter((exchange) => !isStats(exchange)) });
  expect(differences.filter((one) => !player.met.has(one))).toEqual([]);
  // The statistics are Youzan's where an argument of Youzan's asks for them. Some figures are not known here.
  const theirs = JSON.parse(calls.find(isStats)?.answer ?? "").data;
  await server.call("POST", "/channel/delete?topic=plain&channel=ch");
  const ours = await server.json("GET", "/stats?format=json&topic=plain&leaderOnly=true");
  expect(Object.keys(ours)).toEqual(["status_code", "status_txt", "data"]);
  expect(Object.keys(ours.data)).toEqual(Object.keys(theirs));
  const unknown = ["msg_size_stats", "msg_write_latency_stats", "pub_failed_cnt"];
  const [topic] = ours.data.topics;
  expect(Object.keys(topic)).toEqual(Object.keys(theirs.topics[0]).filter((key) => !unknown.includes(key)));
  const counted = ["depth", "backend_depth", "hourly_pubsize"];
  for (const [key, value] of Object.entries(topic)) if (!counted.includes(key)) expect([key, value]).toEqual([key, theirs.topics[0][key]]);
});

/** How many bytes messages take in Youzan's log, beside their bodies. */
const THEIR_OVERHEAD = 30;
/** The messages of the topic at the time of the record, so that each has the same id and offset there. */
const BODIES = [
  ...["x", "hello", "a", "b", "c"],
  ...["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg", "hhhh", "iii", "jjj", "kkk", "lll", "mmm"],
  ...["p1", "p2", "mark1", "mark2"],
];
const LATER_BODIES = ["aaaaa", "bbbbb", "ccccc", "dddd", "eeee", "delayme", "after", "far", "neg", "short"];

/** Tells what an offset in Youzan's log is in this one. */
class Offsets {
  private readonly theirs: number[] = [];

  constructor(
    private readonly server: WithHttp,
    bodies: readonly string[],
  ) {
    let offset = 0;
    for (const body of bodies) {
      this.theirs.push(offset);
      offset += THEIR_OVERHEAD + body.length;
    }
    this.theirs.push(offset);
  }

  ours(offset: number): number {
    const log = this.server.broker.registry.topics.get("plain")?.partitions[0]?.log;
    if (log === undefined) throw new Error("no topic plain");
    const at = this.theirs.findLastIndex((start) => start <= offset);
    const start = recordAt(log, at)?.position ?? log.committedEnd;
    return start + offset - (this.theirs[at] ?? 0);
  }
}

async function publishAll(server: WithHttp, bodies: readonly string[]): Promise<void> {
  for (const body of bodies) {
    const call = body === "hello" ? "/pubtrace?topic=plain&trace_id=12345" : "/pub?topic=plain";
    expect(await server.call("POST", call, body)).toStartWith("200");
  }
}

/** Where the body is in a message after SUB_ADVANCED, behind type, timestamp, attempts, ids, offset and size. */
const DETAILED_BODY_AT = 4 + 8 + 2 + 16 + 12;

async function firstOf(server: WithHttp, channel: string, sub = `SUB plain ${channel}`): Promise<string | undefined> {
  const consumer = await server.started.client();
  expect(await consumer.call(sub)).toBe("OK");
  consumer.command("RDY 1");
  let found: string | undefined;
  // What a turn brings is sent at its end, so the second answer comes behind it.
  for (let i = 0; i < 2 && found === undefined; i++) {
    consumer.write(Buffer.concat([Buffer.from("FIN "), Buffer.alloc(16, "0"), Buffer.from("\n")]));
    const { type, text, bytes } = await consumer.next();
    // Youzan's messages have other ids, and here their offset and size.
    if (type === "message") found = sub.startsWith("SUB ") ? text : bytes.toString("latin1", DETAILED_BODY_AT);
  }
  consumer.close();
  return found;
}

test("a channel is moved by each kind of offset", async () => {
  const clock = new SteppedClock();
  await using server = WithHttp.start({}, {}, { clock });
  makeTopic(server.broker, "plain", { extended: false });
  await server.call("POST", "/channel/create?topic=plain&channel=oc3");
  await publishAll(server, BODIES.slice(0, -1));
  await clock.pass(5000);
  const markS = Math.floor(clock.wallMs() / 1000);
  await publishAll(server, BODIES.slice(-1));
  const offsets = new Offsets(server, BODIES);
  const sent = (text: string): string => {
    const [type, value = ""] = text.split(":");
    if (type === "virtual_queue") return `virtual_queue:${offsets.ours(Number(value))}`;
    return type === "timestamp" ? `timestamp:${Number(value) - 1_795_799_900 + markS}` : text;
  };
  // Our answers say where the channel is now.
  const moved = (channel: number, sequence: number): HttpDifference =>
    difference(
      `POST /channel/setoffset?topic=plain&partition=0&channel=ho${channel}`,
      `200 {"sequence":${sequence},"depth":${BODIES.length - sequence},"discarded":{"in_flight":0,"requeued":0,"deferred":0}}`,
      "the answer says where the channel is now",
    );
  const differences = [
    moved(0, 22),
    moved(1, 2),
    moved(2, 0),
    moved(3, 21),
    moved(4, 0),
    moved(5, 21),
    difference(
      "POST /channel/setoffset?topic=plain&partition=0&channel=ho7",
      code(400, "not supported offset type"),
      "it is the caller's error",
    ),
  ];
  const player = new HttpPlayer(server, undefined, differences, sent);
  const report = section("b2", "channel seek base");
  await player.section({ ...report, exchanges: report.exchanges.slice(0, -1) });
  // The text of /message/stats is for people, and there are other figures here.
  const text = await server.call("GET", "/message/stats?topic=plain&partition=0&channel=oc3");
  expect(text).toStartWith("200 topic plain partition 0 channel oc3\ninflight 0, ");
  const seeks = section("b2", "HTTP setoffset");
  for (const { target } of seeks.exchanges) await server.call("POST", target.replace("setoffset", "create"));
  const firsts: [string, string | undefined][] = [];
  await player.section(seeks, async ({ target, first = "" }) => {
    const channel = /channel=(\w+)/.exec(target)?.[1] ?? "";
    const theirs = /b'(\w+)'/.exec(first)?.[1];
    const ours = await firstOf(server, channel);
    if (ours !== theirs) firsts.push([first, ours]);
  });
  // Theirs is the message behind; here none is left out.
  expect(firsts).toEqual([["virtual_queue:7 -> first: [(3, 31, b'hello')]", "x"]]);
  expect([...player.met]).toEqual(differences);
  // Consumers may give these offsets, too.
  const others: [string, string | undefined][] = [];
  for (const [i, first] of section("b2", "SUB_ADVANCED offsets").firsts.entries()) {
    const offset = sent(first.split(" ")[0] ?? "");
    await server.call("POST", `/channel/create?topic=plain&channel=sub${i}`);
    const ours = await firstOf(server, `sub${i}`, `SUB_ADVANCED plain sub${i} 0 ${offset}`);
    if (ours !== /b'(\w+)'/.exec(first)?.[1]) others.push([first, ours]);
  }
  expect(others).toEqual([["virtual_queue:696 -> first: []", "mark2"]]);
});

async function delayed(server: WithHttp): Promise<object> {
  const stats = await server.json("GET", "/stats?format=json&topic=plain&channel=dr&needClients=true");
  const { depth, in_flight_count, deferred_count, delayed_queue_count, paused, skipped, client_num } = stats.data.topics[0].channels[0];
  return { depth, in_flight_count, deferred_count, delayed_queue_count, paused, skipped, client_num };
}

async function publishTo(server: WithHttp, consumer: RawClient, body: string): Promise<string> {
  await publishAll(server, [body]);
  const [{ id, text } = { id: "", text: "" }] = await messages(consumer, 1);
  expect(text).toBe(body);
  return id;
}

test("messages are shown, finished and counted, and deferred ones moved", async () => {
  await using server = WithHttp.start();
  makeTopic(server.broker, "plain", { extended: false });
  await server.call("POST", "/channel/create?topic=plain&channel=ch");
  await publishAll(server, [...BODIES, ...LATER_BODIES.slice(0, 5)]);
  await server.call("POST", "/channel/create?topic=plain&channel=dr");
  for (const n of Array.from({ length: 12 }, (_, i) => i)) await server.call("POST", "/pub?topic=ext", `m${n}`);
  await server.call("POST", `/pub_ext?topic=ext&ext=${encodeURIComponent('{"a":"b"}')}`, "X1");
  const offsets = new Offsets(server, [...BODIES, ...LATER_BODIES]);
  const consumer = await server.started.consumer("plain", "dr", 5);
  const quiet = { depth: 0, in_flight_count: 0, deferred_count: 0, paused: false, skipped: false, client_num: 1 };
  for (const body of LATER_BODIES.slice(5)) {
    const id = await publishTo(server, consumer, body);
    consumer.command(body === "delayme" || body === "far" ? `REQ ${id} 1200000` : `FIN ${id}`);
  }
  await expectNothing(consumer);
  await server.settle();
  expect(await delayed(server)).toEqual({ ...quiet, delayed_queue_count: 2 });

  const idDown = (text: string): string =>
    text.replace(/(search_pos|msgid)=(\d+)/, (_, name: string, id: string) => `${name}=${Number(id) - 1}`);
  const sent = (text: string): string => {
    if (/search_mode=id|msgid=/.test(text)) return idDown(text);
    return text.replace(/(virtual_offset&search_pos=)(\d+)/, (_, before: string, offset: string) => before + offsets.ours(Number(offset)));
  };
  const get = (rest: string) => `GET /message/get?topic=${rest}`;
  const finish = (id: string) => `POST /message/finish?topic=plain&partition=0&channel=dr&msgid=${id}`;
  const at32 = (await server.call("GET", "/message/get?topic=plain&search_mode=count&search_pos=1")).replace(
    /"timestamp":\d+/,
    '"timestamp":0',
  );
  const hello = at32.replace(/"offset":\d+/, '"offset":0').replace(/,"message_id":"\w+"/, "");
  const first = hello
    .replace("hello", "x")
    .replace("12345", "0")
    .replace('"id":2', '"id":1')
    .replace('"queue_cnt_index":2', '"queue_cnt_index":1');
  const differences = [
    difference(get("plain&partition=0&search_mode=virtual_offset&search_pos=32"), hello, "an offset within a message is of that message"),
    difference(
      get("plain&partition=0&search_mode=id&search_pos=99999"),
      code(404, "MESSAGE_NOT_FOUND"),
      "another message is not what was asked for",
    ),
    difference(
      get("plain&partition=0&search_mode=count&search_pos=zz"),
      code(400, 'strconv.ParseInt: parsing \\"zz\\": invalid syntax'),
      "it is valid JSON",
    ),
    difference(
      get("plain&partition=0&search_mode=count"),
      code(400, 'strconv.ParseInt: parsing \\"\\": invalid syntax'),
      "it is valid JSON",
    ),
    difference(get("plain&search_mode=count&search_pos=0"), first, "the first partition, without one"),
    difference(finish("99999"), code(404, "MESSAGE_NOT_FOUND"), UNKNOWN_404),
    difference(finish("29"), "200", ANY_MESSAGE),
  ];
  const player = new HttpPlayer(server, undefined, differences, sent);
  await player.section(section("b3", "get from the delayed queue"));
  await player.section(section("b3", "/message/get"));
  const held = await publishTo(server, consumer, "finhttp");
  await player.section(section("b3", "/message/finish"));
  consumer.command(`FIN ${held}`);
  expect((await consumer.next()).text).toStartWith("E_FIN_FAILED");
  expect(await delayed(server)).toEqual({ ...quiet, delayed_queue_count: 1 });
  expect([...player.met]).toEqual(differences);

  const history = new HttpPlayer(server, undefined, []);
  const { exchanges } = section("b3", "historystats");
  await history.section({ title: "", firsts: [], exchanges: exchanges.filter(({ method }) => method === "POST") });
  const { hourly_pub_size: hours } = await server.json("GET", "/message/historystats?topic=plain&partition=0");
  // Theirs has the hours that it knows. Here what was published in this hour counts at once.
  expect(hours).toHaveLength(24);
  expect(hours.slice(0, -1)).toEqual(new Array(23).fill(0));
  expect(hours.at(-1)).toBeGreaterThan(1000);
  const { node_hourly_pub_size_stats: rows } = await server.json("GET", "/message/historystats");
  expect(rows.map((row: object) => Object.keys(row))).toEqual([0, 1].map(() => ["topic_name", "topic_partition", "hourly_pub_size"]));

  const moves = new HttpPlayer(server, undefined, []);
  const again: string[] = [];
  await moves.section(section("b3", "requeue delayed"), async ({ target }) => {
    if (target.includes("emptydelayed")) return;
    // "delayme" was finished above.
    const [far] = await messages(consumer, 1);
    again.push(`${far?.text} ${far?.attempts}`);
    expect(await delayed(server)).toEqual({ ...quiet, in_flight_count: 1, delayed_queue_count: 0 });
    consumer.command(`FIN ${far?.id}`);
    const id = await publishTo(server, consumer, "d2");
    consumer.command(`REQ ${id} 1200000`);
    await server.settle();
    expect(await delayed(server)).toEqual({ ...quiet, delayed_queue_count: 1 });
  });
  expect(again).toEqual(["far 2"]);
  expect(await delayed(server)).toEqual({ ...quiet, delayed_queue_count: 0 });

  await actions(server, consumer);
});

async function actions(server: WithHttp, consumer: RawClient): Promise<void> {
  const at = "topic=plain&partition=0";
  const differences = [
    ...["fixconfirmed", "finishmemdelayed"].map((call) => difference(`POST /channel/${call}?${at}&channel=dr`, NOT_THERE, NOT_NEEDED)),
    difference(`POST /channel/setorder?${at}&channel=dr&order=zz`, code(400, "INVALID_ARG_ORDER"), "the code says which argument"),
    difference(`POST /channel/delete?${at}&channel=nope`, code(404, "CHANNEL_NOT_FOUND"), UNKNOWN_404),
    difference("POST /channel/pause?topic=nope&partition=0&channel=nope", code(404, "TOPIC_NOT_FOUND"), NSQS_CODE),
    difference("POST /channel/pause?topic=plain&partition=7&channel=dr", code(404, "PARTITION_NOT_FOUND"), "the topic is there"),
    ...["greedyclean?topic=plain&partition=0", "greedyclean?topic=plain", "cleanunused?topic=plain&partition=0", "cleanunused"].map(
      (call) => difference(`POST /topic/${call}`, NOT_THERE, NOT_NEEDED),
    ),
    ...["cleanunused?checkall=true&dryrun=true", "fixdata?topic=plain&partition=0"].map((call) =>
      difference(`POST /topic/${call}`, NOT_THERE, NOT_NEEDED),
    ),
    ...["pause?topic=plain", "empty?topic=plain", "create?topic=zz"].map((call) =>
      difference(`POST /topic/${call}`, "200", "NSQ's calls for topics"),
    ),
    ...["delayqueue/enable?enable=true", "delayqueue/enable?enable=zz", "filemeta_writer/enable?state=true"].map((call) =>
      difference(`PUT /${call}`, NOT_THERE, NOT_NEEDED),
    ),
  ];
  const player = new HttpPlayer(server, undefined, differences);
  await player.section(section("b3", "pause / skip / empty"), async ({ target }) => {
    if (target.startsWith("/channel/skip?")) {
      expect(await delayed(server)).toMatchObject({ skipped: true });
      await publishAll(server, ["skipped"]);
      await expectNothing(consumer);
      // Theirs shows a depth of 1 until the message has passed.
      expect(await delayed(server)).toMatchObject({ depth: 0, in_flight_count: 0 });
    } else if (target.startsWith("/channel/unskip?")) {
      const id = await publishTo(server, consumer, "notskipped");
      consumer.command(`FIN ${id}`);
    }
  });
  expect([...player.met]).toEqual(differences);
}

test("options of the running broker", async () => {
  await using server = WithHttp.start();
  const info = JSON.stringify(await server.json("GET", "/info")).replace(/"start_time":\d+/, '"start_time":0');
  const differences = [
    difference("GET /delayqueue/backupto?topic=plain&partition=0", NOT_THERE, NOT_NEEDED),
    difference("GET /config/allow_ext_compatible", code(400, "INVALID_OPTION"), NO_FLAG),
    difference("PUT /config/allow_ext_compatible", code(400, "INVALID_OPTION"), NO_FLAG),
    difference("GET /config/max_pub_waiting_size", code(400, "INVALID_OPTION"), NO_FLAG),
    difference("GET /config/max_conn_for_client", code(400, "INVALID_OPTION"), NO_FLAG),
    difference("GET /info", `200 ${info.replace(/"version":"[^"]*"/, '"version":""')}`, "NSQ's keys; it is never in an envelope"),
    difference("GET /coordinator/stats?topic=plain&partition=0", DISABLED, NO_CLUSTER),
  ];
  const player = new HttpPlayer(server, undefined, differences);
  for (const one of readHttpTranscript("b4")) await player.section(one);
  expect(differences.filter((one) => !player.met.has(one))).toEqual([]);
});
