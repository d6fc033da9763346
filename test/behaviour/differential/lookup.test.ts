import { version } from "../../../package.json" with { type: "json" };
import { identityOf } from "../../lookup/support/lookup-client.ts";
import { sized } from "../../support/raw-client.ts";
import { ByteSocket } from "./support/byte-socket.ts";
import { noDateOnHead } from "./support/differences.ts";
import { requestBytes } from "./support/http-wire.ts";
import { describeAgainstNsqlookupd, type LookupSession } from "./support/lookup-session.ts";
import type { DefineScenario } from "./support/pair.ts";
import { filled, int32, join } from "./support/wire.ts";

type Define = DefineScenario<LookupSession>;

const IDENTITY = JSON.stringify(identityOf("broker"));

describeAgainstNsqlookupd("lookup", { args: ["--broadcast-address=lookup.test"] }, (scenario) => {
  magic(scenario);
  commandLines(scenario);
  identifying(scenario);
  registering(scenario);
  pieces(scenario);
  routing(scenario);
  debugging(scenario);
  calls(scenario);
  names(scenario);
});

describeAgainstNsqlookupd("a lookup server of one's own", { alone: true, args: ["--broadcast-address=lookup.test"] }, whole);

describeAgainstNsqlookupd("times of a lookup server", { args: ["--inactive-producer-timeout=700ms", "--tombstone-lifetime=700ms"] }, times);

function magic(scenario: Define): void {
  for (const bytes of ["  V2", "  v1", "V1  ", "PING", "GET ", "\0\0\0\0", "\xff\xfe\xfd\xfc"]) {
    scenario(`the magic ${JSON.stringify(bytes)} is refused`, async (s) => {
      const client = await s.broker("a", "");
      // Nothing behind it: Go hangs up on unread bytes with a reset, which can overtake its answer.
      client.raw(bytes);
      await client.untilClosed();
    });
  }
  for (const bytes of ["", " ", "  V"]) {
    scenario(`a client that ends its side after ${JSON.stringify(bytes)} gets nothing`, async (s) => {
      const client = await s.broker("a", "");
      client.raw(bytes);
      client.client.socket.halfClose();
      await client.untilClosed();
    });
  }
  scenario("the magic alone is answered with nothing", async (s) => {
    const client = await s.broker("a");
    await client.end();
  });
}

function commandLines(scenario: Define): void {
  const lines = [
    "PING",
    "PING with words",
    "PING\r",
    " PING ",
    "\tPING\v\f\r",
    "\u00c2\u00a0PING\u00c2\u0085\u00e2\u0080\u0083",
    "\u00c2PING",
    "PING\u00c2",
    "\u00a0PING",
    "P\0ING",
    "ping",
    "PINGS",
    "",
    " ",
    "\r",
    "NOP",
    "IDENTIFY2",
    "PUB topic",
    "é",
    "\xff\xfe",
    "REGISTER",
    "UNREGISTER",
    "REGISTER topic",
    "UNREGISTER topic channel",
    "constructor",
    filled(4000),
  ];
  for (const line of lines) {
    scenario(`the line ${JSON.stringify(line.slice(0, 30))} of ${line.length} bytes before IDENTIFY`, async (s) => {
      const client = await s.broker("a");
      await client.play(`${line}\nPING\n`);
    });
    scenario(`the line ${JSON.stringify(line.slice(0, 30))} of ${line.length} bytes after IDENTIFY`, async (s) => {
      const client = await s.broker("a");
      await client.call("IDENTIFY", IDENTITY);
      await client.play(`${line}\nPING\n`);
    });
  }
  scenario("a line without an end is not carried out", async (s) => {
    const client = await s.broker("a");
    client.raw("PING\nPING");
    client.client.socket.halfClose();
    await client.untilClosed();
  });
  scenario("a client that ends its side still gets its answers", async (s) => {
    const client = await s.broker("a");
    client.raw("PING\nPING\n");
    client.client.socket.halfClose();
    await client.untilClosed();
  });
}

function identifying(scenario: Define): void {
  const without = (field: string) => JSON.stringify({ ...identityOf("broker"), [field]: undefined });
  const changed = (changes: object) => JSON.stringify({ ...identityOf("broker"), ...changes });
  const bodies: [what: string, body: string][] = [
    ["a whole identity", IDENTITY],
    ["nothing", ""],
    ["null", "null"],
    ["an empty object", "{}"],
    ["an empty list", "[]"],
    ["a number", "1"],
    ["a string", '"x"'],
    ["no JSON", "{"],
    ["something behind its JSON", `${IDENTITY}x`],
    ["white space around its JSON", ` \r\n\t${IDENTITY}\n`],
    ["a vertical tab before its JSON", `\v${IDENTITY}`],
    ["bytes that are no UTF-8", changed({ hostname: "x" }).replace('"x"', '"\xff"')],
    ["a lone surrogate", changed({ hostname: "x" }).replace('"x"', '"\\ud800"')],
    ["signs that JSON in HTML escapes", changed({ hostname: "<a>&\u2028\u2029\x7f" })],
    ["control characters", changed({ hostname: '\x01\t\n\r"\\/' })],
    ["no broadcast_address", without("broadcast_address")],
    ["no hostname", without("hostname")],
    ["no tcp_port", without("tcp_port")],
    ["no http_port", without("http_port")],
    ["no version", without("version")],
    ["an empty broadcast_address", changed({ broadcast_address: "" })],
    ["a port 0", changed({ tcp_port: 0 })],
    ["a negative port", changed({ tcp_port: -1 })],
    ["a port beyond 65535", changed({ http_port: 70_000 })],
    ["the largest integer for a port", changed({ tcp_port: 1 }).replace('"tcp_port":1', '"tcp_port":9223372036854775807')],
    ["an integer that is too large for a port", changed({ tcp_port: 1 }).replace('"tcp_port":1', '"tcp_port":9223372036854775808')],
    ["a fraction for a port", changed({ tcp_port: 4150.5 })],
    ["a fraction of zero for a port", changed({ tcp_port: 1 }).replace('"tcp_port":1', '"tcp_port":4150.0')],
    ["an exponent in a port", changed({ tcp_port: 1 }).replace('"tcp_port":1', '"tcp_port":4e3')],
    ["a string for a port", changed({ tcp_port: "4150" })],
    ["a number for a name", changed({ broadcast_address: 1 })],
    ["a list for a name", changed({ hostname: ["x"] })],
    ["an object for a version", changed({ version: {} })],
    ["a bool for a version", changed({ version: true })],
    ["null for a name", changed({ hostname: null })],
    ["null for a port", changed({ tcp_port: null })],
    ["keys in upper case", IDENTITY.toUpperCase()],
    ["unknown keys", changed({ toString: 1, __proto: [], more: { deep: [1] } })],
    ["a key of every object", IDENTITY.replace("{", '{"constructor":1,"__proto__":2,"toString":3,')],
    ["an address of its own choice", changed({ remote_address: "1.2.3.4:5", id: "x" })],
    ["a remote_address of another type", changed({ remote_address: 5 })],
  ];
  for (const [what, body] of bodies) {
    scenario(`IDENTIFY with ${what}`, async (s) => {
      const client = await s.broker("a");
      await client.call("IDENTIFY", Buffer.from(body, body.includes("\xff") ? "latin1" : "utf8"));
      await client.call(`REGISTER ${s.topic}`);
      await s.whereabouts();
      await client.end();
    });
  }
  scenario("IDENTIFY with words behind it", async (s) => {
    const client = await s.broker("a");
    await client.call("IDENTIFY with words", IDENTITY);
    await client.end();
  });
  scenario("a second IDENTIFY is refused before its body is read", async (s) => {
    const client = await s.broker("a");
    await client.call("IDENTIFY", IDENTITY);
    await client.call("IDENTIFY");
    await client.untilClosed();
  });
  for (const [what, bytes] of [
    ["after the line", Buffer.alloc(0)],
    ["within the size", int32(100).subarray(0, 3)],
    ["after the size", int32(100)],
    ["within the body", join(int32(100), IDENTITY.slice(0, 50))],
  ] as const) {
    scenario(`a client that ends its side ${what} of an IDENTIFY`, async (s) => {
      const client = await s.broker("a");
      client.raw(join("IDENTIFY\n", bytes));
      client.client.socket.halfClose();
      await client.untilClosed();
    });
  }
  scenario("commands behind an IDENTIFY are carried out", async (s) => {
    const client = await s.broker("a");
    await client.play(join("IDENTIFY\n", sized(IDENTITY), `REGISTER ${s.topic} ch\nPING\n`));
  });
  scenario("a body longer than its JSON is no JSON, a shorter one leaves a command behind", async (s) => {
    const client = await s.broker("a");
    await client.play(join("IDENTIFY\n", int32(IDENTITY.length), IDENTITY, "\nPING\n"));
  });
}

function registering(scenario: Define): void {
  const words = [
    "TOPIC",
    "TOPIC ch",
    "TOPIC ch more words",
    "TOPIC ",
    "TOPIC  ch",
    " TOPIC",
    "TOPIC#ephemeral",
    "TOPIC ch#ephemeral",
    "TOPIC#ephemeral ch#ephemeral",
    "TOPIC#other",
    "TOPIC#",
    "TOPIC *",
    "* ch",
    "*",
    "to*pic",
    "to/pic",
    "TOPIC ch,annel",
    "TOPIC ch\tannel",
    "TOPIC\tch",
    "TOPIC \xff",
    "\xc3\xa9 ch",
    "%d%s ch",
    `${filled(64)}`,
    `${filled(65)}`,
    `TOPIC ${filled(64)}`,
    `TOPIC ${filled(65)}`,
    `${filled(54)}#ephemeral`,
    `${filled(55)}#ephemeral`,
    "#ephemeral",
    "TOPIC #ephemeral",
    ".",
    "a.b-c_D9 e.f-g_H0",
  ];
  for (const command of ["REGISTER", "UNREGISTER"]) {
    for (const rest of words) {
      scenario(`${command} ${JSON.stringify(rest)}`, async (s) => {
        const client = await s.registered("a", [s.topic, `${s.topic} other`]);
        client.raw(`${command} ${rest.replace("TOPIC", s.topic)}\nPING\n`);
        await client.answers(2);
        await s.whereabouts();
        await client.end();
        await s.untilProducers([]);
        await s.whereabouts();
      });
    }
  }
  scenario("a topic is found at every broker that registered it", async (s) => {
    for (const name of ["a", "b", "c"]) await s.registered(name, [`${s.topic} ch-${name}`, `${s.topic} common`]);
    await s.whereabouts();
  });
  scenario("the same registered twice is there once", async (s) => {
    const client = await s.broker("a");
    await client.call("IDENTIFY", IDENTITY);
    for (let i = 0; i < 2; i++) {
      await client.call(`REGISTER ${s.topic} ch`);
      await client.call(`REGISTER ${s.topic}`);
    }
    await s.whereabouts();
  });
  scenario("two brokers that say the same of themselves are both told", async (s) => {
    for (let i = 0; i < 2; i++) await s.registered("a", [s.topic]);
    await s.whereabouts();
  });
  scenario("a topic that is unregistered is gone with its channels, for this broker", async (s) => {
    const [a] = [await s.registered("a", [`${s.topic} one`, `${s.topic} two`]), await s.registered("b", [`${s.topic} one`])];
    await a.call(`UNREGISTER ${s.topic}`);
    await s.whereabouts();
    await a.call(`UNREGISTER ${s.topic}`);
    await a.call(`REGISTER ${s.topic} three`);
    await s.whereabouts();
  });
  scenario("names stay when the last broker goes, ephemeral ones too", async (s) => {
    const ephemeral = `${s.topic}#ephemeral`;
    const client = await s.registered("a", [`${s.topic} ch`, `${s.topic} ch#ephemeral`, `${ephemeral} ch`, `${ephemeral} ch#ephemeral`]);
    const escaped = encodeURIComponent(ephemeral);
    await client.end();
    await s.untilProducers([]);
    await s.untilProducers([], escaped);
    await s.whereabouts();
    await s.whereabouts(escaped);
  });
  scenario("ephemeral names go with the last broker that unregisters them", async (s) => {
    const ephemeral = `${s.topic}#ephemeral`;
    const escaped = encodeURIComponent(ephemeral);
    const names = [`${s.topic} ch#ephemeral`, `${ephemeral} ch`, `${ephemeral} ch#ephemeral`];
    const [a, b] = [await s.registered("a", names), await s.registered("b", names)];
    for (const client of [a, b]) {
      for (const name of [`${s.topic} ch#ephemeral`, `${ephemeral} ch#ephemeral`, ephemeral]) {
        await client.call(`UNREGISTER ${name}`);
        await s.whereabouts();
        await s.whereabouts(escaped);
      }
    }
    await a.call(`REGISTER ${ephemeral}`);
    await s.whereabouts(escaped);
  });
  scenario("an ephemeral channel that nobody has goes when anybody unregisters it", async (s) => {
    await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch%23ephemeral`);
    await s.whereabouts();
    const client = await s.registered("a");
    await client.call(`UNREGISTER ${s.topic} ch#ephemeral`);
    await s.whereabouts();
  });
  scenario("what an operator deletes a broker can register again", async (s) => {
    const client = await s.registered("a", [`${s.topic} ch`]);
    await s.http("POST", `/channel/delete?topic=${s.topic}&channel=ch`);
    await s.whereabouts();
    await client.call(`REGISTER ${s.topic} ch`);
    await s.whereabouts();
    await s.http("POST", `/topic/delete?topic=${s.topic}`);
    await s.whereabouts();
    await client.call(`UNREGISTER ${s.topic} ch`);
    await client.call(`REGISTER ${s.topic} ch`);
    await s.whereabouts();
  });
  scenario("a broker whose connection breaks is gone", async (s) => {
    const client = await s.registered("a", [`${s.topic} ch`]);
    await s.registered("b", [s.topic]);
    await s.untilProducers(["a", "b"]);
    client.client.close();
    await s.untilProducers(["b"]);
    await s.whereabouts();
  });
  scenario("a broker that makes an error is gone", async (s) => {
    const client = await s.registered("a", [s.topic]);
    await client.call("REGISTER bad/name");
    await s.untilProducers([]);
    await client.untilClosed();
  });
}

function pieces(scenario: Define): void {
  const train = (topic: string) =>
    join("IDENTIFY\n", sized(IDENTITY), `REGISTER ${topic} ch\r\n`, "PING\n", `UNREGISTER ${topic} ch\n`, `REGISTER ${topic}\n`);
  for (const packetBytes of [1, 3, 50, 100_000]) {
    scenario(`commands in packets of ${packetBytes} bytes are answered in order`, async (s) => {
      const client = await s.broker("a", "");
      await client.client.socket.writeInPackets(join("  V1", train(s.topic), "PROBE\n"), packetBytes);
      await client.untilClosed();
    });
  }
  scenario("five thousand commands in a train are answered in order", async (s) => {
    const client = await s.registered("a");
    const commands = Array.from({ length: 5000 }, (_, i) => (i % 2 === 0 ? `REGISTER ${s.topic} ch${i % 100}\n` : "PING\n"));
    client.raw(commands.join(""));
    await client.answers(5000);
    await s.whereabouts();
    await client.end();
  });
}

const GET_PATHS = ["/ping", "/info", "/lookup", "/topics", "/channels", "/nodes", "/debug"];
const POST_PATHS = ["/topic/create", "/topic/delete", "/topic/tombstone", "/channel/create", "/channel/delete"];

function debugging(scenario: Define): void {
  for (const [method, path] of [
    ["GET", "/debug/pprof"],
    ["GET", "/debug/pprof/"],
    ["GET", "/debug/pprof/cmdline"],
    ["POST", "/debug/pprof/symbol"],
    ["GET", "/debug/pprof/profile?seconds=1"],
    ["GET", "/debug/pprof/heap"],
    ["GET", "/debug/pprof/goroutine"],
    ["GET", "/debug/pprof/block"],
    ["GET", "/debug/pprof/threadcreate"],
    ["GET", "/debug/pprof/mutex"],
    ["POST", "/debug/freememory"],
    ["PUT", "/debug/setblockrate?rate=0"],
  ] as const) {
    scenario(`${method} ${path} has the same status`, async (s) => {
      const response = await s.server.http(method, path);
      s.note(`${response.status} ${new URL(response.url).pathname}`);
      await response.body?.cancel();
    });
  }
}

/** bunsq's own release is in one answer that is compared byte by byte. */
const ownRelease = {
  name: "Release",
  expected: (go: string[]) =>
    go.map((line) =>
      line
        .replace(/(content-length: )(\d+)/, (_, name, length) => name + (Number(length) + `,"bunsq_version":"${version}"`.length))
        .replace(/\}"$/, `,\\"bunsq_version\\":\\"${version}\\"}"`),
    ),
};

function routing(scenario: Define): void {
  for (const path of [...GET_PATHS, ...POST_PATHS]) {
    for (const method of ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"]) {
      // What else is registered meanwhile is another scenario's.
      if (method === "GET" && ["/topics", "/nodes", "/debug"].includes(path)) continue;
      scenario(
        `${method} ${path} is answered as nsqlookupd does`,
        async (s) => {
          await s.http(method, path);
        },
        method === "HEAD" ? [noDateOnHead] : method === "GET" && path === "/info" ? [ownRelease] : [],
      );
    }
  }
  const paths = [
    "/",
    "/nothing",
    "/topic",
    "/topic/",
    "/channel/nothing",
    "/lookup/",
    "/LOOKUP?topic=x",
    "//lookup?topic=x",
    "/lookup/x",
    "/lookup?topic=%zz",
    "/lookup?topic=a;b",
    "/Topic/Create",
    "/topic/create/?topic=x",
    "/create_topic",
    "/tombstone_topic_producer",
    "/%6cookup?topic=x",
    "/stats",
    "/pub",
  ];
  for (const path of paths) {
    for (const method of ["GET", "POST"]) {
      scenario(`${method} ${path} is answered as nsqlookupd does`, async (s) => {
        await s.http(method, path);
      });
    }
  }
}

function calls(scenario: Define): void {
  const arguments_ = [
    "",
    "?",
    "?topic",
    "?topic=",
    "?topic=TOPIC",
    "?topic=no-such-topic",
    "?topic=bad/name",
    "?topic=bad%2Fname",
    `?topic=${filled(65)}`,
    "?topic=TOPIC%23ephemeral",
    "?topic=TOPIC&topic=other",
    "?Topic=TOPIC",
    "?topic=TOPIC&channel",
    "?topic=TOPIC&channel=",
    "?topic=TOPIC&channel=ch",
    "?topic=TOPIC&channel=no-such-channel",
    "?topic=TOPIC&channel=bad*",
    "?topic=TOPIC&channel=%2A",
    `?topic=TOPIC&channel=${filled(65)}`,
    "?topic=bad*&channel=ch",
    "?channel=ch",
    "?topic=TOPIC&node",
    "?topic=TOPIC&node=",
    "?topic=TOPIC&node=a:4151",
    "?topic=TOPIC&node=a:4150",
    "?topic=TOPIC&node=nobody:1",
    "?topic=no-such-topic&node=a:4151",
    "?node=a:4151",
    "?topic=%",
    "?topic=TOPIC&x=%zz",
    "?topic=TOPIC;channel=ch",
    "?to%70ic=TOPIC",
    "?topic=+TOPIC",
  ];
  for (const [method, paths] of [["GET", ["/lookup", "/channels"]] as const, ["POST", POST_PATHS] as const]) {
    for (const path of paths) {
      for (const query of arguments_) {
        scenario(`${method} ${path}${query}`, async (s) => {
          await s.registered("a", [`${s.topic} ch`]);
          const target = `${path}${query.replace("TOPIC", s.topic)}`;
          if (method === "GET") await s.json(target);
          else await s.http(method, target);
          await s.whereabouts();
          await s.whereabouts(`${s.topic}%23ephemeral`);
        });
      }
    }
  }
  scenario("a created topic and a created channel are told at once, without producers", async (s) => {
    await s.http("POST", `/topic/create?topic=${s.topic}`);
    await s.whereabouts();
    await s.http("POST", `/channel/create?topic=${s.topic}&channel=ch`);
    await s.http("POST", `/channel/create?topic=${s.topic}-2&channel=ch`);
    await s.whereabouts();
    await s.whereabouts(`${s.topic}-2`);
    await s.http("POST", `/channel/delete?topic=${s.topic}&channel=ch`);
    await s.http("POST", `/channel/delete?topic=${s.topic}&channel=ch`);
    await s.http("POST", `/topic/delete?topic=${s.topic}-2`);
    await s.whereabouts();
    await s.whereabouts(`${s.topic}-2`);
  });
  scenario("the headers of an answer are nsqlookupd's", async (s) => {
    await s.registered("a", [`${s.topic} ch`]);
    await s.http("GET", `/lookup?topic=${s.topic}`);
    await s.http("GET", `/channels?topic=${s.topic}`);
  });
  scenario("a request's body is read over", async (s) => {
    await s.http("POST", `/topic/create?topic=${s.topic}`, "a body");
    await s.http("POST", `/topic/create?topic=${s.topic}`, filled(100_000));
    await s.http("GET", `/lookup?topic=${s.topic}`, "a body");
  });
  scenario("several requests on one connection are answered one after the other", async (s) => {
    const socket = await ByteSocket.connect(s.server.httpPort);
    for (let i = 1; i <= 3; i++) {
      socket.write(requestBytes("GET", `/channels?topic=${s.topic}`));
      const bytes = await socket.until((sofar) => sofar.toString().split('{"channels":[]}').length > i);
      s.note(`answers: ${bytes.toString().split('{"channels":[]}').length - 1}`);
    }
    socket.destroy();
  });
}

function names(scenario: Define): void {
  scenario("what a broker says of itself is told as it said it", async (s) => {
    await s.registered("a", [s.topic], {
      hostname: "",
      broadcast_address: 'höst \u2028<&>"\\',
      version: "∞",
      tcp_port: -5,
      http_port: 99_999_999,
    });
    await s.whereabouts();
  });
}

/** Everything that is registered, on servers where nothing else is. */
function whole(scenario: Define): void {
  const all = async (s: LookupSession) => {
    for (const path of ["/topics", "/nodes", "/debug"]) await s.json(path);
  };
  scenario("of nothing", all);
  scenario("of brokers without topics", async (s) => {
    await s.registered("a");
    await s.registered("b");
    await all(s);
  });
  scenario("of several brokers, with topics and channels", async (s) => {
    await s.registered("a", ["one x", "one y", "two"]);
    await s.registered("b", ["one x", "three#ephemeral z#ephemeral"], { http_port: 5151, tcp_port: 5150 });
    await s.http("POST", "/topic/create?topic=empty");
    await s.http("POST", "/channel/create?topic=one&channel=nobodys");
    await all(s);
    await s.http("POST", "/topic/tombstone?topic=one&node=a:4151");
    await all(s);
    await s.json("/lookup?topic=one");
  });
  scenario("after a broker has gone", async (s) => {
    const a = await s.registered("a", ["one x", "two y", "three#ephemeral z#ephemeral"]);
    await s.registered("b", ["one x"]);
    await a.end();
    await s.untilProducers(["b"], "one");
    await all(s);
  });
  scenario("after topics and channels were deleted and unregistered", async (s) => {
    const a = await s.registered("a", ["one x", "two y", "three#ephemeral z"]);
    await s.http("POST", "/topic/delete?topic=one");
    await all(s);
    await a.call("UNREGISTER three#ephemeral");
    await all(s);
    await s.json("/channels?topic=three%23ephemeral");
    await s.http("POST", "/topic/delete?topic=three%23ephemeral");
    await all(s);
  });
  scenario("asked for by the name *", async (s) => {
    await s.json("/lookup?topic=*");
    await s.json("/channels?topic=*");
    await s.registered("a", ["one x", "two y", "two x"]);
    await s.registered("b", ["one x"]);
    await s.json("/lookup?topic=*");
    await s.json("/channels?topic=*");
    await s.http("POST", "/topic/delete?topic=*");
    await all(s);
  });
  scenario("tombstoned under the name *", async (s) => {
    await s.registered("a", ["one"]);
    await s.registered("b", ["one"]);
    await s.http("POST", "/topic/tombstone?topic=*&node=a:4151");
    await all(s);
    await s.json("/lookup?topic=*");
  });
}

function times(scenario: Define): void {
  const TIMEOUT_MS = 700;
  scenario("a broker that does not ping is not told any more, until it does", async (s) => {
    const sinceMs = performance.now();
    const client = await s.registered("silent", [`${s.topic} ch`]);
    await s.whereabouts();
    await s.due("silent is left out", TIMEOUT_MS, sinceMs, () => s.untilProducers([]));
    await s.whereabouts();
    await client.call("PING");
    await s.whereabouts();
    await s.untilProducers([]);
    await client.call("REGISTER another");
    s.note(`after another command: ${await s.producers()}`);
    await client.end();
  });
  scenario("a broker that pings stays", async (s) => {
    const client = await s.registered("lively", [s.topic]);
    const endMs = performance.now() + 3 * TIMEOUT_MS;
    let absences = 0;
    while (performance.now() < endMs) {
      await client.client.call("PING");
      if ((await s.producers()).length === 0) absences++;
    }
    s.note(`absences: ${absences}`);
  });
  scenario("an inactive broker is not among the nodes, its registrations stay", async (s) => {
    await s.registered(`gone-${s.topic}`, [s.topic]);
    await s.untilProducers([]);
    const nodes = (await (await s.server.http("GET", "/nodes")).json()) as { producers: { broadcast_address: string }[] };
    s.note(`among the nodes: ${nodes.producers.some(({ broadcast_address }) => broadcast_address === `gone-${s.topic}`)}`);
    const debug = (await (await s.server.http("GET", "/debug")).json()) as Record<string, unknown>;
    s.note(`registered: ${`topic:${s.topic}:` in debug}`);
  });
  scenario("a tombstone hides a broker for its lifetime, from one topic", async (s) => {
    const client = await s.registered("a", [s.topic, `${s.topic}-2`]);
    const sinceMs = performance.now();
    await s.http("POST", `/topic/tombstone?topic=${s.topic}&node=a:4151`);
    s.note(`told: ${await s.producers()}; of another topic: ${await s.producers(`${s.topic}-2`)}`);
    const pings = setInterval(() => client.client.socket.write("PING\n"), 50);
    await s.due("a is back", TIMEOUT_MS, sinceMs, () => s.untilProducers(["a"]));
    clearInterval(pings);
  });
  scenario("a tombstone is gone with an UNREGISTER, and not with a REGISTER", async (s) => {
    const client = await s.registered("a", [s.topic]);
    const pings = setInterval(() => client.client.socket.write("PING\n"), 50);
    await s.http("POST", `/topic/tombstone?topic=${s.topic}&node=a:4151`);
    client.client.send(`REGISTER ${s.topic}`);
    s.note(`told: ${await s.producers()}`);
    client.client.send(`UNREGISTER ${s.topic}`);
    client.client.send(`REGISTER ${s.topic}`);
    await s.untilProducers(["a"]);
    clearInterval(pings);
  });
}
