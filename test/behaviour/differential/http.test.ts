import { sized } from "../../support/raw-client.ts";
import { ByteSocket } from "./support/byte-socket.ts";
import {
  answersHttp10As11,
  badChunkIsBadRequest,
  bareBadRequest,
  closesWithoutSaying,
  noDateOnHead,
  noServerWideOptions,
  pipelineHangsUp,
  reasonOf413,
  refusedEndlessDefer,
  resolvedDots,
  unknownMethodHangsUp,
} from "./support/differences.ts";
import { chunked, readResponses, requestBytes } from "./support/http-wire.ts";
import { type DefineScenario, type Difference, describeAgainstNsqd } from "./support/pair.ts";
import { OWN_FIELD, type Session } from "./support/session.ts";
import { batch, filled, int32, join } from "./support/wire.ts";

const MAX_MSG_BYTES = 1024;
const MAX_BODY_BYTES = 4096;
const MAX_BATCH = 818;

describeAgainstNsqd(
  "HTTP",
  {
    args: ["--node-id=7", `--max-msg-size=${MAX_MSG_BYTES}`, `--max-body-size=${MAX_BODY_BYTES}`, "--max-req-timeout=10s"],
    anywhere: [reasonOf413],
  },
  (scenario) => {
    routing(scenario);
    publishing(scenario);
    batches(scenario);
    topics(scenario);
    channels(scenario);
    stats(scenario);
    config(scenario);
    transport(scenario);
  },
);

/** What has been published to this scenario's topic so far. */
async function noteTopic(s: Session): Promise<void> {
  const topic = await s.topicStats();
  s.note(
    topic === undefined
      ? "no topic"
      : `published ${topic.message_count}, depth ${topic.depth}, channels ${topic.channels.map((channel) => channel.channel_name).join() || "none"}`,
  );
}

const GET_PATHS = ["/ping", "/info", "/stats?format=json&topic=none&include_mem=false", "/config/log_level"];
const POST_PATHS = [
  "/pub",
  "/mpub",
  "/topic/create",
  "/topic/delete",
  "/topic/empty",
  "/topic/pause",
  "/topic/unpause",
  "/channel/create",
  "/channel/delete",
  "/channel/empty",
  "/channel/pause",
  "/channel/unpause",
];

function routing(scenario: DefineScenario): void {
  for (const path of [...GET_PATHS, ...POST_PATHS]) {
    for (const method of ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"]) {
      const differences = method === "HEAD" ? [noDateOnHead] : [];
      scenario(
        `${method} ${path} is answered as nsqd does`,
        async (s) => {
          await s.http(method, path);
        },
        differences,
      );
    }
  }
  for (const path of GET_PATHS) {
    scenario(`POST ${path} is answered as nsqd does`, async (s) => {
      await s.http("POST", path);
    });
  }
  for (const path of POST_PATHS) {
    scenario(`GET ${path} is answered as nsqd does`, async (s) => {
      await s.http("GET", path);
    });
  }
  const paths = [
    "/",
    "/nothing",
    "/topic",
    "/topic/",
    "/topic/nothing",
    "/channel",
    "/config",
    "/config/",
    "/config/a/b",
    "/ping/",
    "/PING",
    "//ping",
    "/./ping",
    "/x/../ping",
    "/ping/x",
    "/stats/",
    "/pub/",
    "/Topic/Create",
    "/topic//create",
    "/topic/create/",
    "/create_topic",
    "/put",
    "/mput",
    "/favicon.ico",
    "/ping%20",
    "/%70ing",
    "/ping;a",
    "/ping?x=%zz",
    "/ping?a;b",
    "/ping#frag",
  ];
  for (const path of paths) {
    for (const method of ["GET", "POST"]) {
      const differences = path.includes("/./") || path.includes("/../") ? [resolvedDots] : [];
      scenario(
        `${method} ${path} is answered as nsqd does`,
        async (s) => {
          await s.http(method, path);
        },
        differences,
      );
    }
  }
  scenario(
    "OPTIONS * is answered",
    async (s) => {
      await s.http("OPTIONS", "*");
    },
    [noServerWideOptions],
  );
  scenario(
    "an unknown method is answered or hung up on",
    async (s) => {
      await s.http("BREW", "/ping");
      await s.http("BREW", "/nothing");
    },
    [unknownMethodHangsUp],
  );
  scenario("/ping answers OK", async (s) => {
    await s.http("GET", "/ping");
    await s.http("GET", "/ping?any=thing");
  });
  scenario("/info answers what it knows of itself", async (s) => {
    const response = await s.http("GET", "/nothing");
    s.note(response?.statusLine ?? "no response");
    const info = await s.server.http("GET", "/info");
    s.noteJson("info", (await info.json()) as { [key: string]: string });
  });
}

function publishing(scenario: DefineScenario): void {
  const pub = (name: string, query: string, body: string | Uint8Array, headers: string[] = [], differences: Difference[] = []) =>
    scenario(
      `/pub ${name}`,
      async (s) => {
        await s.http("POST", `/pub${query.replace("TOPIC", s.topic)}`, body, headers);
        await noteTopic(s);
      },
      differences,
    );

  pub("publishes its body", "?topic=TOPIC", "m");
  pub("publishes a body of exactly the limit", "?topic=TOPIC", filled(MAX_MSG_BYTES));
  pub("refuses a body one byte over the limit", "?topic=TOPIC", filled(MAX_MSG_BYTES + 1));
  pub("refuses a body far over the limit", "?topic=TOPIC", filled(100_000));
  pub("refuses an empty body", "?topic=TOPIC", "");
  pub("without a topic is refused", "", "m");
  pub("with an empty topic is refused", "?topic=", "m");
  pub("with a topic key alone is refused", "?topic", "m");
  pub("with a bad topic is refused", "?topic=bad!", "m");
  pub("with an escaped topic decodes it", "?topic=%54OPIC", "m");
  pub("with a plus in its topic reads a space", "?topic=a+b", "m");
  pub("takes the first of two topics", "?topic=TOPIC&topic=bad!", "m");
  pub("judges its body before its topic", "?topic=bad!", "");
  pub("judges its topic before its defer", "?topic=bad!&defer=nan", "m");
  pub("with a query that cannot be decoded is refused", "?topic=%zz", "m");
  pub("with a semicolon in its query is refused", "?topic=TOPIC;defer=1", "m");
  pub("with an unknown argument ignores it", "?topic=TOPIC&more=1", "m");
  pub("with an ephemeral topic takes it", "?topic=TOPIC%23ephemeral", "m");
  pub("with a bare hash in its target is refused by what is before it", "?topic=TOPIC#ephemeral", "m");
  for (const defer of [
    "0",
    "1",
    "10000",
    "10001",
    "-1",
    "-0",
    "+5",
    "",
    "abc",
    "1.5",
    "1s",
    "007",
    "1_000",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073710",
    "0x10",
    "%201",
  ]) {
    const differences = defer === "18446744073710" ? [refusedEndlessDefer] : [];
    pub(`with defer=${defer} is answered as nsqd does`, `?topic=TOPIC&defer=${defer}`, "m", [], differences);
  }
  pub("takes a chunked body", "?topic=TOPIC", chunked(["hello ", "world"]), ["Transfer-Encoding: chunked"]);
  pub("takes a chunked body of exactly the limit", "?topic=TOPIC", chunked([filled(1000), filled(24)]), ["Transfer-Encoding: chunked"]);
  pub("refuses a chunked body over the limit", "?topic=TOPIC", chunked([filled(1000), filled(25)]), ["Transfer-Encoding: chunked"]);
  pub("refuses an empty chunked body", "?topic=TOPIC", chunked([]), ["Transfer-Encoding: chunked"]);
  pub("does not care for the type of its body", "?topic=TOPIC", "a=b", ["Content-Type: application/x-www-form-urlencoded"]);
  pub("does not look for its topic in a form", "", "topic=TOPIC", ["Content-Type: application/x-www-form-urlencoded"]);
  pub("waits for a body that is announced with Expect", "?topic=TOPIC", "m", ["Expect: 100-continue"]);
  scenario("/pub refuses a huge body without reading it", async (s) => {
    await s.rawHttp(
      requestBytes("POST", `/pub?topic=${s.topic}`, "only a few bytes", ["Content-Length: 100000000"]),
      "POST /pub of 100 MB",
    );
    await noteTopic(s);
  });
  scenario("/pub publishes bytes as they are", async (s) => {
    const peer = await s.consumer("a", { rdy: 1 });
    await s.http("POST", `/pub?topic=${s.topic}`, Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
    await peer.frame();
  });
}

function batches(scenario: DefineScenario): void {
  const mpub = (name: string, query: string, body: string | Uint8Array, headers: string[] = []) =>
    scenario(`/mpub ${name}`, async (s) => {
      await s.http("POST", `/mpub${query.replace("TOPIC", s.topic)}`, body, headers);
      await noteTopic(s);
      const published = (await s.topicStats())?.message_count ?? 0;
      const peer = await s.consumer("a", { rdy: 1000 });
      await peer.frames(published);
    });

  mpub("publishes a message a line", "?topic=TOPIC", "one\ntwo\nthree\n");
  mpub("publishes a last line without an end", "?topic=TOPIC", "one\ntwo");
  mpub("leaves out empty lines", "?topic=TOPIC", "\n\none\n\n\ntwo\n\n");
  mpub("keeps the CR of a line", "?topic=TOPIC", "one\r\ntwo\r\n\r\n");
  mpub("with an empty body publishes nothing", "?topic=TOPIC", "");
  mpub("with a body of line ends publishes nothing", "?topic=TOPIC", "\n\n\n");
  mpub("takes a line of exactly the limit", "?topic=TOPIC", `${filled(MAX_MSG_BYTES)}\nb`);
  mpub("refuses a line over the limit, and all with it", "?topic=TOPIC", `a\n${filled(MAX_MSG_BYTES + 1)}\n`);
  mpub("takes a body of exactly the limit", "?topic=TOPIC", `${filled(1023)}\n`.repeat(4));
  mpub("refuses a body over the limit", "?topic=TOPIC", join(`${filled(1023)}\n`.repeat(4), "x"));
  mpub(
    "refuses a chunked body over the limit, and all with it",
    "?topic=TOPIC",
    chunked(Array.from({ length: 5 }, () => `${filled(1000)}\n`)),
    ["Transfer-Encoding: chunked"],
  );
  mpub("takes a chunked body that cuts its lines", "?topic=TOPIC", chunked(["on", "e\ntw", "o\n"]), ["Transfer-Encoding: chunked"]);
  mpub("without a topic is refused", "", "m\n");
  mpub("with a bad topic is refused", "?topic=bad!", "m\n");
  mpub("with an empty topic is refused", "?topic=", "m\n");
  mpub("with a query that cannot be decoded is refused", "?topic=%zz", "m\n");
  mpub("ignores defer", "?topic=TOPIC&defer=5000", "m\n");
  for (const binary of ["true", "1", "false", "0", "", "yes", "TRUE"]) {
    mpub(`binary=${binary} with a batch is read as nsqd reads it`, `?topic=TOPIC&binary=${binary}`, batch("a", "bb"));
    mpub(`binary=${binary} with lines is read as nsqd reads it`, `?topic=TOPIC&binary=${binary}`, "one\ntwo\n");
  }
  const binary = (name: string, body: Uint8Array, headers: string[] = []) =>
    mpub(`in binary form ${name}`, "?topic=TOPIC&binary=true", body, headers);
  binary("takes messages of any bytes", batch("\n", "\0", "a\r\nb"));
  binary("takes a message of exactly the limit", batch(filled(MAX_MSG_BYTES)));
  binary("refuses a message over the limit", batch("a", filled(MAX_MSG_BYTES + 1)));
  binary("refuses a count of zero", int32(0));
  binary("refuses a negative count", int32(-1));
  binary("takes the most messages a body can hold", batch(...Array.from({ length: MAX_BATCH }, () => "m")));
  binary("refuses one message too many", join(int32(MAX_BATCH + 1), sized("m")));
  binary("refuses an empty message", join(int32(2), sized("a"), int32(0)));
  binary("refuses a negative size", join(int32(1), int32(-1)));
  binary("refuses a body that ends early", join(int32(2), sized("a"), int32(5), "abc"));
  binary("refuses a body that ends before its count", Buffer.from([0, 0]));
  binary("refuses an empty body", Buffer.alloc(0));
  binary("ignores what is behind its last message", join(batch("a"), "trailing"));
  binary("refuses a body over the limit", batch(...Array.from({ length: 5 }, () => filled(1000))));
  binary("takes a chunked body", Buffer.from(chunked([batch("a", "b").toString("latin1")]), "latin1"), ["Transfer-Encoding: chunked"]);
  scenario("/mpub refuses a huge body without reading it", async (s) => {
    await s.rawHttp(
      requestBytes("POST", `/mpub?topic=${s.topic}`, "only a few bytes", ["Content-Length: 100000000"]),
      "POST /mpub of 100 MB",
    );
    await noteTopic(s);
  });
}

/** Plays suspicious arguments on a call that has a topic, or a topic and a channel. */
function judgeArguments(scenario: DefineScenario, path: string, takesChannel: boolean): void {
  const queries: Record<string, string> = takesChannel
    ? {
        "no arguments": "",
        "no channel": "?topic=TOPIC",
        "no topic": "?channel=ch",
        "an empty topic": "?topic=&channel=ch",
        "an empty channel": "?topic=TOPIC&channel=",
        "a bad topic": "?topic=bad!&channel=ch",
        "a bad channel": "?topic=TOPIC&channel=bad!",
        "a topic of 65 letters": `?topic=${filled(65)}&channel=ch`,
        "a channel of 65 letters": `?topic=TOPIC&channel=${filled(65)}`,
        "an unknown topic": "?topic=TOPIC_unknown&channel=ch",
        "an unknown channel": "?topic=TOPIC&channel=unknown",
        "an undecodable query": "?topic=%zz&channel=ch",
        "two channels": "?topic=TOPIC&channel=ch&channel=bad!",
      }
    : {
        "no arguments": "",
        "an empty topic": "?topic=",
        "a bad topic": "?topic=bad!",
        "a topic of 64 letters": "?topic=TOPIC64",
        "a topic of 65 letters": `?topic=${filled(65)}`,
        "an unknown topic": "?topic=TOPIC_unknown",
        "an undecodable query": "?topic=%zz",
        "two topics": "?topic=TOPIC&topic=bad!",
        "a key in capitals": "?Topic=TOPIC",
      };
  for (const [what, query] of Object.entries(queries)) {
    scenario(`${path} with ${what} is answered as nsqd does`, async (s) => {
      await s.http("POST", `/topic/create?topic=${s.topic}`);
      await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch`);
      await s.http("POST", `${path}${query.replace("TOPIC64", s.topic.padEnd(64, "_")).replace("TOPIC", s.topic)}`);
      await noteTopic(s);
    });
  }
}

function topics(scenario: DefineScenario): void {
  for (const action of ["create", "delete", "empty", "pause", "unpause"]) {
    judgeArguments(scenario, `/topic/${action}`, false);
    scenario(`/topic/${action} twice is answered as nsqd does`, async (s) => {
      await s.http("POST", `/topic/create?topic=${s.topic}`);
      await s.http("POST", `/topic/${action}?topic=${s.topic}`);
      await s.http("POST", `/topic/${action}?topic=${s.topic}`);
      await noteTopic(s);
    });
    scenario(`/topic/${action} ignores a body`, async (s) => {
      await s.http("POST", `/topic/create?topic=${s.topic}`);
      await s.http("POST", `/topic/${action}?topic=${s.topic}`, "topic=other");
      await noteTopic(s);
    });
  }
  scenario("/topic/create makes a topic without channels, with nothing in it", async (s) => {
    await s.http("POST", `/topic/create?topic=${s.topic}`);
    await s.stats((topic) => topic.depth === 0);
  });
  scenario("an ephemeral topic made by hand is there until it is deleted", async (s) => {
    const topic = `${s.topic}#ephemeral`;
    await s.http("POST", `/topic/create?topic=${encodeURIComponent(topic)}`);
    await s.stats(() => true, topic);
    await s.http("POST", `/topic/delete?topic=${encodeURIComponent(topic)}`);
    s.note(`topic exists: ${(await s.topicStats(topic)) !== undefined}`);
  });
}

function channels(scenario: DefineScenario): void {
  for (const action of ["create", "delete", "empty", "pause", "unpause"]) {
    judgeArguments(scenario, `/channel/${action}`, true);
    scenario(`/channel/${action} twice is answered as nsqd does`, async (s) => {
      await s.http("POST", `/topic/create?topic=${s.topic}`);
      await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch`);
      await s.http("POST", `/channel/${action}?topic=${s.topic}&channel=ch`);
      await s.http("POST", `/channel/${action}?topic=${s.topic}&channel=ch`);
      await noteTopic(s);
    });
  }
  scenario("pausing shows in the stats", async (s) => {
    await s.http("POST", `/topic/create?topic=${s.topic}`);
    await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch`);
    await s.http("POST", `/topic/pause?topic=${s.topic}`);
    await s.http("POST", `/channel/pause?topic=${s.topic}&channel=ch`);
    await s.stats((topic) => topic.channels.length === 1);
    await s.http("POST", `/topic/unpause?topic=${s.topic}`);
    await s.http("POST", `/channel/unpause?topic=${s.topic}&channel=ch`);
    await s.stats((topic) => topic.channels.length === 1);
  });
  scenario("an ephemeral channel made by hand stays while nobody has used it", async (s) => {
    await s.http("POST", `/topic/create?topic=${s.topic}`);
    await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch%23ephemeral`);
    await noteTopic(s);
    const peer = await s.consumer("a", { channel: "ch#ephemeral" });
    await peer.end();
    await s.stats((topic) => topic.channels.length === 0);
  });
}

function stats(scenario: DefineScenario): void {
  const show = (name: string, query: string) =>
    scenario(`/stats ${name}`, async (s) => {
      await s.http("POST", `/topic/create?topic=${s.topic}`);
      await s.http("POST", `/channel/create?topic=${s.topic}&channel=left`);
      await s.http("POST", `/channel/create?topic=${s.topic}&channel=right`);
      const peer = await s.consumer("a", { channel: "left", identify: { hostname: "host", user_agent: "agent/1.0" } });
      const stats = await s.rawStats(query.replace("TOPIC", s.topic));
      // Other scenarios' producers come and go meanwhile; the whole list is compared in stats.test.ts.
      s.note(
        `keys: ${Object.keys(stats)
          .filter((key) => key !== OWN_FIELD)
          .join()}`,
      );
      s.noteJson("topics", stats.topics ?? null);
      await peer.end();
    });
  show("of one topic", "&topic=TOPIC");
  show("of one channel", "&topic=TOPIC&channel=left");
  show("of a channel that the topic does not have", "&topic=TOPIC&channel=unknown");
  show("of an unknown topic", "&topic=TOPIC_unknown");
  show("of an unknown topic and channel", "&topic=TOPIC_unknown&channel=left");
  show("of a bad topic", "&topic=bad!");
  for (const value of ["true", "1", "false", "0", "", "no", "FALSE"]) {
    show(`with include_clients=${value}`, `&topic=TOPIC&include_clients=${value}`);
    show(`with include_mem=${value}`, `&topic=TOPIC&include_mem=${value}`);
  }
  show("takes the first of two topics", "&topic=TOPIC&topic=TOPIC_unknown");
  scenario("/stats with a query that cannot be decoded is refused", async (s) => {
    await s.http("GET", "/stats?format=json&topic=%zz");
  });
  for (const format of ["JSON", "xml", "json%20", ""]) {
    scenario(`/stats with format=${format} is text`, async (s) => {
      const response = await s.server.http(
        "GET",
        `/stats?format=${format}&topic=${s.topic}_unknown&include_mem=false&include_clients=false`,
      );
      s.note(`${response.status} ${response.headers.get("content-type")} ${response.headers.get("x-nsq-content-type")}`);
      s.note((await response.text()).split("\n").slice(3).join("\n"));
    });
  }
}

function config(scenario: DefineScenario): void {
  for (const [name, body] of [
    ["an unknown option", "x"],
    ["an option that cannot be changed", "x"],
    ["an empty body", ""],
    ["a body over the limit", filled(MAX_MSG_BYTES + 1)],
    ["a body of exactly the limit", filled(MAX_MSG_BYTES)],
  ] as const) {
    const option = name === "an unknown option" ? "nothing" : name === "an option that cannot be changed" ? "max_msg_size" : "log_level";
    scenario(`PUT /config with ${name} is answered as nsqd does`, async (s) => {
      await s.http("PUT", `/config/${option}`, body);
    });
  }
  for (const level of ["loud", "2", " info", "info ", '"info"', "info\n", "warning", "0"]) {
    scenario(`PUT /config/log_level ${JSON.stringify(level)} is answered as nsqd does`, async (s) => {
      await s.http("PUT", "/config/log_level", level);
    });
  }
  for (const addresses of ["", "{}", "1", '"a:1"', "[1]", "[null]", '["a:1"', '["a:1"] x', "nonsense"]) {
    scenario(`PUT /config/nsqlookupd_tcp_addresses ${addresses} is answered as nsqd does`, async (s) => {
      await s.http("PUT", "/config/nsqlookupd_tcp_addresses", addresses);
    });
  }
  scenario("DELETE and POST of an option are answered as nsqd does", async (s) => {
    await s.http("DELETE", "/config/log_level");
    await s.http("POST", "/config/log_level", "info");
  });
}

function transport(scenario: DefineScenario): void {
  /** What comes back on one connection until `count` responses are in, and whether the broker then closes it. */
  const converse = (name: string, count: number, requests: ((s: Session) => string | Uint8Array)[], differences: Difference[] = []) =>
    scenario(
      name,
      async (s) => {
        const socket = await ByteSocket.connect(s.server.httpPort);
        socket.write(join(...requests.map((request) => request(s))));
        for (const response of await readResponses(socket, count, false)) s.noteResponse(response);
        await socket.untilEnd(300);
        s.note(`closed: ${socket.ended}`);
        socket.destroy();
      },
      differences,
    );

  converse("requests behind publishes that wait for the disk may be pipelined", 5, [
    (s) => requestBytes("POST", `/pub?topic=${s.topic}`, chunked(["ze", "ro"]), ["Transfer-Encoding: chunked"]),
    (s) => requestBytes("POST", `/pub?topic=${s.topic}`, "one"),
    (s) => requestBytes("POST", `/mpub?topic=${s.topic}`, "two\nthree"),
    () => requestBytes("GET", "/ping"),
    (s) => requestBytes("POST", `/pub?topic=${s.topic}`, "four"),
  ]);
  converse(
    "requests behind an unusual publish that waits for the disk may be pipelined",
    3,
    [
      (s) => requestBytes("POST", `/pub?topic=${s.topic}&defer=1`, "one"),
      () => requestBytes("GET", "/ping"),
      (s) => requestBytes("POST", `/mpub?topic=${s.topic}`, "two\nthree"),
    ],
    [pipelineHangsUp],
  );
  converse("a connection is kept after an error", 3, [
    () => requestBytes("POST", "/pub", "one"),
    () => requestBytes("GET", "/nothing"),
    () => requestBytes("GET", "/ping"),
  ]);
  converse("a connection is kept after a body that is a little too big", 2, [
    (s) => requestBytes("POST", `/pub?topic=${s.topic}`, filled(MAX_MSG_BYTES + 1)),
    () => requestBytes("GET", "/ping"),
  ]);
  const close = requestBytes("GET", "/ping", undefined, ["Connection: close"]);
  converse("a client that asks for it is hung up on", 1, [() => close], [closesWithoutSaying]);
  converse("HTTP/1.0 is answered and hung up on", 1, [() => "GET /ping HTTP/1.0\r\n\r\n"], [answersHttp10As11]);

  const refuse = (what: string, lines: string[], body = "", differences = [bareBadRequest]) =>
    converse(`${what} is refused`, 1, [() => `${lines.join("\r\n")}\r\n\r\n${body}`], differences);
  const post = ["POST /pub?topic=never HTTP/1.1", "Host: x"];
  refuse("HTTP/1.1 without a host", ["GET /ping HTTP/1.1"]);
  refuse("something that is not HTTP", ["  V2IDENTIFY\n"]);
  refuse("a bad content length", [...post, "Content-Length: x"], "m");
  refuse("a negative content length", [...post, "Content-Length: -1"], "m");
  refuse("a pair of content lengths", [...post, "Content-Length: 1", "Content-Length: 2"], "m");
  refuse("a header line without a colon", ["GET /ping HTTP/1.1", "Host: x", "nonsense"]);
  refuse("a chunk of no size", [...post, "Transfer-Encoding: chunked"], "xyz\r\n", [badChunkIsBadRequest]);
  scenario("a request may come a byte at a time", async (s) => {
    const socket = await ByteSocket.connect(s.server.httpPort);
    await socket.writeInPackets(requestBytes("POST", `/mpub?topic=${s.topic}`, "one\ntwo\n"), 1);
    for (const response of await readResponses(socket, 1, false)) s.noteResponse(response);
    socket.destroy();
    await noteTopic(s);
  });
  scenario("a body that never comes whole is not published", async (s) => {
    const socket = await ByteSocket.connect(s.server.httpPort);
    socket.write(requestBytes("POST", `/pub?topic=${s.topic}`, "half", ["Content-Length: 8"]));
    await socket.until(() => false, 200);
    s.note(`answered: ${socket.received().length > 0}`);
    socket.destroy();
    await s.http("GET", "/ping");
    await noteTopic(s);
  });
}
