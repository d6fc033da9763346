import { sized } from "../../support/raw-client.ts";
import { refusedEndlessDelay } from "./support/differences.ts";
import { type DefineScenario, describeAgainstNsqd } from "./support/pair.ts";
import { type Session, showBytes } from "./support/session.ts";
import { batch, filled, int32, join, withBody } from "./support/wire.ts";

/** Small bounds, so that each can be met exactly and passed by one. */
const MAX_MSG_BYTES = 1024;
const MAX_BODY_BYTES = 4096;
const MAX_RDY = 100;
/** (MAX_BODY_BYTES - 4) / 5: the most messages an MPUB body could hold. */
const MAX_BATCH = 818;
/** Go's read buffer, and with it the longest command line. */
const MAX_LINE_BYTES = 16 * 1024;

const UNKNOWN_ID = "0123456789abcdef";
/** nsqd reads modulo 2^64, and then computes milliseconds times a million in signed 64 bits. */
const BEYOND_64_BITS = [
  "9007199254740993",
  "9223372036854775807",
  "9223372036854775808",
  "9223372036855",
  "18446744073709551615",
  "18446744073709551616",
  "18446744073709551617",
  "18446744073710",
  "99999999999999999999999999",
];
/** Delays among BEYOND_64_BITS that nsqd accepts, because they are within its bounds after the second wrap. */
const WRAPPED_INTO_BOUNDS = ["9223372036854775808", "18446744073710"];

describeAgainstNsqd(
  "commands",
  {
    args: [
      "--node-id=7",
      `--max-msg-size=${MAX_MSG_BYTES}`,
      `--max-body-size=${MAX_BODY_BYTES}`,
      `--max-rdy-count=${MAX_RDY}`,
      "--max-req-timeout=10s",
      "--max-msg-timeout=90s",
      "--max-heartbeat-interval=20s",
      "--max-output-buffer-size=4096",
      "--max-output-buffer-timeout=5s",
    ],
  },
  (scenario) => {
    magic(scenario);
    lines(scenario);
    states(scenario);
    names(scenario);
    identify(scenario);
    subscribing(scenario);
    publishing(scenario);
    batches(scenario);
    deferring(scenario);
    consuming(scenario);
    trains(scenario);
  },
);

/** A connection in its first state, given one train of bytes. */
async function playFresh(s: Session, bytes: string | Uint8Array): Promise<void> {
  const peer = await s.peer("a");
  await peer.play(bytes);
}

/** A subscribed connection, given one train of bytes. */
async function playSubscribed(s: Session, bytes: string | Uint8Array): Promise<void> {
  const peer = await s.consumer("a");
  await peer.play(bytes);
}

/** A connection whose client closes its direction behind these bytes. */
async function playHalfClosed(s: Session, bytes: string | Uint8Array): Promise<void> {
  const socket = await s.bytes();
  socket.write(join("  V2", bytes));
  socket.halfClose();
  s.note(`a< ${showBytes(await socket.untilEnd())}`);
  s.note(socket.ended ? "a< (closed)" : "a< (still open)");
}

function magic(scenario: DefineScenario): void {
  for (const bytes of ["  V1", "  v2", "V2  ", "\0\0\0\0", "GET / HTTP/1.1\r\n\r\n", "\n\n\n\n"]) {
    scenario(`magic ${JSON.stringify(bytes)} is answered with E_BAD_PROTOCOL and closed`, async (s) => {
      const peer = await s.peer("a", bytes);
      await peer.untilClosed();
    });
  }
  for (const bytes of ["", " ", "  V"]) {
    scenario(`a connection that ends after ${bytes.length} bytes of magic gets nothing`, async (s) => {
      const socket = await s.bytes();
      socket.write(bytes);
      socket.halfClose();
      s.note(`a< ${showBytes(await socket.untilEnd())}`);
      s.note(socket.ended ? "a< (closed)" : "a< (still open)");
    });
  }
  scenario("magic may come in pieces", async (s) => {
    const socket = await s.bytes();
    await socket.writeInPackets("  V2NOP\nPROBE\n", 1);
    s.note(`a< ${showBytes(await socket.untilEnd())}`);
  });
}

function lines(scenario: DefineScenario): void {
  for (const line of [
    "\n",
    "\r\n",
    " \n",
    "  \n",
    "nop\n",
    "NOP \n",
    "NOP x y\n",
    " NOP\n",
    "NOP\t\n",
    "NOPE\n",
    "PU\n",
    "\0\n",
    "\xff\xfe\n",
    "héllo wörld\n",
  ]) {
    scenario(`the line ${JSON.stringify(line)} is taken as nsqd takes it`, (s) => playFresh(s, line));
  }
  scenario("a line may end in CR LF", (s) =>
    playFresh(s, join(`PUB ${s.topic}\r\n`, sized("m"), "NOP\r\n", `MPUB ${s.topic}\r\n`, sized(batch("a", "b")))),
  );
  scenario("only one CR is taken off a line", (s) => playFresh(s, `PUB ${s.topic}\r\r\n`));
  scenario("a lone CR does not end a line", (s) => playFresh(s, "NOP\rNOP\n"));
  scenario("a line of exactly the read buffer is parsed", (s) => playFresh(s, `${filled(MAX_LINE_BYTES - 1)}\n`));
  scenario("a line one byte longer than the read buffer closes the connection without a word", (s) =>
    playFresh(s, `${filled(MAX_LINE_BYTES)}\n`),
  );
  scenario("a very long line without an end closes the connection without a word", (s) => playFresh(s, filled(3 * MAX_LINE_BYTES)));
  scenario("the length of a line counts from its own first byte", (s) =>
    playFresh(s, join("NOP\n".repeat(1000), "NOP ", filled(MAX_LINE_BYTES - 5), "\n", withBody(`PUB ${s.topic}`, "m"))),
  );
  scenario("a long line that names a topic is refused for the name", (s) => playFresh(s, `PUB ${filled(200)}\n`));
  scenario("an unfinished line at the end of the connection is not a command", (s) => playHalfClosed(s, "NOPE"));
  scenario("a client that closes its direction still gets the answers to what it sent", (s) =>
    playHalfClosed(s, join(withBody(`PUB ${s.topic}`, "one"), withBody(`PUB ${s.topic}`, "two"))),
  );
  scenario("commands arrive whole when each byte is a packet", async (s) => {
    const socket = await s.bytes();
    await socket.writeInPackets(
      join("  V2", withBody("IDENTIFY", '{"client_id":"slow"}'), withBody(`PUB ${s.topic}`, "m"), `SUB ${s.topic} ch\r\n`, "CLS\nPROBE\n"),
      1,
    );
    s.note(`a< ${showBytes(await socket.untilEnd())}`);
  });
  scenario("commands arrive whole when packets cut them in sevens", async (s) => {
    const socket = await s.bytes();
    await socket.writeInPackets(
      join("  V2", withBody(`MPUB ${s.topic}`, batch("a", filled(1000), "c")), `SUB ${s.topic} ch\r\n`, "RDY 0\nCLS\nPROBE\n"),
      7,
    );
    s.note(`a< ${showBytes(await socket.untilEnd())}`);
  });
}

/** Every command, well formed, in every state a connection can be in. */
function states(scenario: DefineScenario): void {
  const commands: Record<string, (topic: string) => Buffer> = {
    IDENTIFY: () => withBody("IDENTIFY", '{"client_id":"c","feature_negotiation":false}'),
    AUTH: () => withBody("AUTH", "secret"),
    SUB: (topic) => join(`SUB ${topic} other\n`),
    PUB: (topic) => withBody(`PUB ${topic}_pub`, "m"),
    MPUB: (topic) => withBody(`MPUB ${topic}_pub`, batch("a", "b")),
    DPUB: (topic) => withBody(`DPUB ${topic}_pub 50`, "m"),
    RDY: () => join("RDY 5\n"),
    FIN: () => join(`FIN ${UNKNOWN_ID}\n`),
    REQ: () => join(`REQ ${UNKNOWN_ID} 0\n`),
    TOUCH: () => join(`TOUCH ${UNKNOWN_ID}\n`),
    CLS: () => join("CLS\n"),
    NOP: () => join("NOP\n"),
  };
  const states: Record<string, (topic: string) => Buffer> = {
    "a new connection": () => Buffer.alloc(0),
    "an identified connection": () => withBody("IDENTIFY", '{"client_id":"c"}'),
    "a subscribed connection": (topic) => join(`SUB ${topic} ch\n`),
    "a closing connection": (topic) => join(`SUB ${topic} ch\nCLS\n`),
  };
  for (const [state, enter] of Object.entries(states)) {
    for (const [command, bytes] of Object.entries(commands)) {
      scenario(`${command} on ${state} is answered as nsqd does`, (s) => playFresh(s, join(enter(s.topic), bytes(s.topic))));
    }
    for (const line of ["SUB", "SUB t", "PUB", "MPUB", "DPUB", "DPUB t", "FIN", "REQ", `REQ ${UNKNOWN_ID}`, "TOUCH", "AUTH x"]) {
      scenario(`${line} without its parameters on ${state} is answered as nsqd does`, (s) =>
        playFresh(s, join(enter(s.topic), `${line}\n`)),
      );
    }
  }
}

function names(scenario: DefineScenario): void {
  const suspects: Record<string, string> = {
    "64 letters": filled(64),
    "65 letters": filled(65),
    "64 with #ephemeral": `${filled(54)}#ephemeral`,
    "65 with #ephemeral": `${filled(55)}#ephemeral`,
    "one letter": "a",
    "a dot": ".",
    "two dots": "..",
    "only #ephemeral": "#ephemeral",
    "#ephemeral twice": "a#ephemeral#ephemeral",
    "#Ephemeral": "a#Ephemeral",
    "#ephemera": "a#ephemera",
    "#ephemeral in the middle": "a#ephemeralb",
    "a hash": "a#",
    nothing: "",
    "a slash": "a/b",
    "a colon": "a:b",
    "a star": "*",
    "digits and marks": "0._-9",
    "a quotation mark": 'a"b',
    "a backslash": "a\\b",
    "a NUL": "a\0b",
    "a tab": "a\tb",
    "control characters": "\x07\b\f\v\x01\x1f\x7f",
    "an umlaut in UTF-8": Buffer.from("töpic").toString("latin1"),
    "an emoji in UTF-8": Buffer.from("a😀b").toString("latin1"),
    "an invisible character in UTF-8": Buffer.from("a\u200bb\u00ad\ufeff\u{e0001}").toString("latin1"),
    "bytes that are no UTF-8": "a\xff\xc3(\xed\xa0\x80",
    "the replacement character": Buffer.from("\ufffd").toString("latin1"),
  };
  for (const [what, name] of Object.entries(suspects)) {
    scenario(`PUB judges a topic name of ${what} as nsqd does`, (s) => playFresh(s, withBody(`PUB ${name}`, "m")));
    scenario(`MPUB judges a topic name of ${what} as nsqd does`, (s) => playFresh(s, withBody(`MPUB ${name}`, batch("m"))));
    scenario(`DPUB judges a topic name of ${what} as nsqd does`, (s) => playFresh(s, withBody(`DPUB ${name} 1`, "m")));
    scenario(`SUB judges a topic name of ${what} as nsqd does`, (s) => playFresh(s, `SUB ${name} ch\n`));
    scenario(`SUB judges a channel name of ${what} as nsqd does`, (s) => playFresh(s, `SUB ${s.topic} ${name}\n`));
  }
}

function identify(scenario: DefineScenario): void {
  const send = (name: string, body: string | Uint8Array) => scenario(`IDENTIFY ${name}`, (s) => playFresh(s, withBody("IDENTIFY", body)));
  const fields = (value: string) => `{"feature_negotiation":true,${value}}`;

  send("with no fields is answered OK", "{}");
  send("with feature negotiation answers every field", '{"feature_negotiation":true}');
  send(
    "answers with the values it was given",
    fields(
      '"heartbeat_interval":5000,"output_buffer_size":1024,"output_buffer_timeout":100,"sample_rate":42,"msg_timeout":4321,"client_id":"i","hostname":"h","user_agent":"u"',
    ),
  );
  send("refuses both compressions at once", fields('"tls_v1":true,"snappy":true,"deflate":true,"deflate_level":3'));
  send("refuses no deflate level", fields('"deflate_level":99'));
  send("refuses no negative deflate level", fields('"deflate_level":-99'));
  send("ignores unknown keys", '{"short_id":"a","long_id":"b","nested":{"deep":[1,2,{"x":null}]},"topology_region":"r"}');
  send("ignores keys that every object has", `{"toString":1,"constructor":{},"hasOwnProperty":"x","__proto__":2}`);
  send("takes keys in any case", '{"FEATURE_NEGOTIATION":true,"Sample_Rate":5,"mSg_TiMeOuT":2000}');
  send("takes the last of two equal keys", fields('"sample_rate":5,"sample_rate":6'));
  send("takes the last of two keys equal but for case", fields('"SAMPLE_RATE":6,"sample_rate":5,"Sample_Rate":7'));
  send("takes white space around its JSON", ' \r\n\t{"feature_negotiation" : true } \n');
  send("takes escapes in keys", '{"feature\\u005fnegotiation":true}');
  send(
    "takes null for every field",
    fields(
      '"client_id":null,"hostname":null,"heartbeat_interval":null,"sample_rate":null,"msg_timeout":null,"tls_v1":null,"output_buffer_size":null',
    ),
  );
  send("takes strings that are no good Unicode", join('{"client_id":"\xff\xc3(","hostname":"\\ud800","user_agent":"\\u0000"}'));

  const documents = [
    "null",
    "true",
    "1",
    '"text"',
    "[]",
    "[{}]",
    " ",
    "{",
    "}",
    "{}{}",
    "{} x",
    "{'a':1}",
    '{"a":1,}',
    "{a:1}",
    '{"a":01}',
    '{"a":.5}',
    '{"a":1.}',
    '{"a":+1}',
    '{"a":NaN}',
    '{"a":"\n"}',
    '{"a":"\\x"}',
    '{"a":"\\u12"}',
    '{"a":tru}',
    "\ufeff{}",
    "nul",
    "\0",
  ];
  for (const document of documents) {
    send(`judges the document ${JSON.stringify(document)} as nsqd does`, document);
  }

  const numbers: Record<string, string[]> = {
    heartbeat_interval: [
      "-2",
      "-1",
      "0",
      "1",
      "999",
      "1000",
      "20000",
      "20001",
      "9007199254740993",
      "9223372036854775807",
      "-9223372036854775808",
      "9223372036854775808",
    ],
    output_buffer_size: ["-2", "-1", "0", "1", "63", "64", "4096", "4097", "9007199254740993"],
    output_buffer_timeout: ["-2", "-1", "0", "1", "24", "25", "5000", "5001", "9007199254740993"],
    sample_rate: ["-1", "0", "1", "99", "100", "2147483647", "2147483648", "-2147483648", "-2147483649"],
    msg_timeout: ["-1", "0", "1", "999", "1000", "90000", "90001", "9007199254740993"],
    deflate_level: ["0", "9223372036854775807", "9223372036854775808"],
  };
  const malformed = ["1.5", "1000.0", "1e3", "1E3", "-0", '"1000"', "true", "[]", "{}"];
  for (const [field, values] of Object.entries(numbers)) {
    for (const value of [...values, ...malformed]) {
      send(`judges ${field} ${value} as nsqd does`, fields(`"${field}":${value}`));
    }
  }
  for (const field of ["client_id", "hostname", "user_agent"]) {
    for (const value of ["1", "true", "[]", "{}", '""', '"\\"quoted\\""'])
      send(`judges ${field} ${value} as nsqd does`, fields(`"${field}":${value}`));
  }
  for (const field of ["feature_negotiation", "tls_v1", "snappy", "deflate"]) {
    for (const value of ["1", '"true"', "[]", "{}", "false"]) send(`judges ${field} ${value} as nsqd does`, `{"${field}":${value}}`);
  }
  send(
    "reports the first of several fields that are out of bounds",
    fields('"msg_timeout":1,"sample_rate":1000,"output_buffer_size":1,"output_buffer_timeout":1,"heartbeat_interval":1'),
  );
  send("judges the output buffer's timeout before its size", fields('"sample_rate":1000,"output_buffer_size":1,"output_buffer_timeout":1'));
  send("without an output buffer has no output timeout", fields('"output_buffer_size":-1,"output_buffer_timeout":1000'));

  scenario("IDENTIFY ignores parameters on its line", (s) => playFresh(s, withBody("IDENTIFY a b c", "{}")));
  scenario("IDENTIFY may come twice before SUB", (s) =>
    playFresh(
      s,
      join(
        withBody("IDENTIFY", '{"feature_negotiation":true,"sample_rate":5}'),
        withBody("IDENTIFY", '{"feature_negotiation":true,"msg_timeout":3000}'),
      ),
    ),
  );
  scenario("IDENTIFY may come after PUB", (s) => playFresh(s, join(withBody(`PUB ${s.topic}`, "m"), withBody("IDENTIFY", "{}"))));
  for (const size of [0, -1, -2147483648, MAX_BODY_BYTES + 1, 2147483647]) {
    scenario(`IDENTIFY with a body size of ${size} is refused`, (s) => playFresh(s, join("IDENTIFY\n", int32(size))));
    scenario(`AUTH with a body size of ${size} is refused`, (s) => playFresh(s, join("AUTH\n", int32(size))));
  }
  scenario("IDENTIFY takes a body of exactly the limit", (s) => playFresh(s, withBody("IDENTIFY", "{}".padEnd(MAX_BODY_BYTES))));
  scenario("AUTH takes a body of exactly the limit", (s) => playFresh(s, withBody("AUTH", filled(MAX_BODY_BYTES))));
  for (const [what, bytes] of [
    ["size", join("IDENTIFY\n\0\0")],
    ["body", join("IDENTIFY\n", int32(10), "{}")],
  ] as const) {
    scenario(`IDENTIFY whose ${what} is cut off is refused`, (s) => playHalfClosed(s, bytes));
  }
  for (const [what, bytes] of [
    ["size", join("AUTH\n\0\0")],
    ["body", join("AUTH\n", int32(10), "{}")],
  ] as const) {
    scenario(`AUTH whose ${what} is cut off is refused`, (s) => playHalfClosed(s, bytes));
  }
}

function subscribing(scenario: DefineScenario): void {
  scenario("SUB with heartbeats off is refused", (s) =>
    playFresh(s, join(withBody("IDENTIFY", '{"heartbeat_interval":-1}'), `SUB ${s.topic} ch\n`)),
  );
  scenario("SUB with heartbeats off is refused before its parameters are looked at", (s) =>
    playFresh(s, join(withBody("IDENTIFY", '{"heartbeat_interval":-1}'), "SUB\n")),
  );
  scenario("SUB ignores further parameters", (s) => playFresh(s, `SUB ${s.topic} ch more words\n`));
  scenario("SUB with two spaces has an empty topic", (s) => playFresh(s, `SUB  ${s.topic} ch\n`));
  scenario("SUB with a space behind has only what it needs", (s) => playFresh(s, `SUB ${s.topic} ch \n`));
  scenario("SUB with an empty channel is refused for the channel", (s) => playFresh(s, `SUB ${s.topic} \n`));
  scenario("SUB twice to the same channel is refused", (s) => playFresh(s, `SUB ${s.topic} ch\nSUB ${s.topic} ch\n`));
  scenario("SUB creates its topic and channel", async (s) => {
    await s.consumer("a", { channel: "first" });
    await s.stats((topic) => topic.channels.length === 1);
  });
  scenario("SUB of an ephemeral topic and channel is taken", (s) => playFresh(s, `SUB ${s.topic}#ephemeral ch#ephemeral\n`));
}

function publishing(scenario: DefineScenario): void {
  const commands: Record<string, (topic: string) => string> = { PUB: (topic) => `PUB ${topic}`, DPUB: (topic) => `DPUB ${topic} 0` };
  for (const [command, line] of Object.entries(commands)) {
    for (const size of [0, -1, -2147483648, MAX_MSG_BYTES + 1, 2147483647]) {
      scenario(`${command} with a body size of ${size} is refused`, async (s) => {
        await playFresh(s, join(`${line(s.topic)}\n`, int32(size)));
        s.note(`topic exists: ${(await s.topicStats()) !== undefined}`);
      });
    }
    scenario(`${command} takes a message of exactly the limit`, async (s) => {
      await playFresh(s, withBody(line(s.topic), filled(MAX_MSG_BYTES)));
      await s.stats((topic) => topic.depth === 1);
    });
    scenario(`${command} takes a message of one byte, whatever it is`, (s) =>
      playFresh(s, join(withBody(line(s.topic), "\0"), withBody(line(s.topic), "\n"))),
    );
    scenario(`${command} whose size is cut off is refused`, (s) => playHalfClosed(s, join(`${line(s.topic)}\n`, "\0\0")));
    scenario(`${command} whose size is missing is refused`, (s) => playHalfClosed(s, join(`${line(s.topic)}\n`)));
    scenario(`${command} whose body is cut off is refused and not published`, async (s) => {
      await playHalfClosed(s, join(`${line(s.topic)}\n`, int32(10), "123456789"));
      s.note(`topic exists: ${(await s.topicStats()) !== undefined}`);
    });
    scenario(`${command} ignores further parameters`, (s) => playFresh(s, withBody(`${line(s.topic)} more words`, "m")));
    scenario(`${command} after a refused one on the same connection is not served`, (s) =>
      playFresh(s, join(withBody(line(s.topic), "ok"), withBody(line("bad!"), "m"), withBody(line(s.topic), "late"))),
    );
  }
  scenario("PUB with two spaces has an empty topic", (s) => playFresh(s, withBody(`PUB  ${s.topic}`, "m")));
  scenario("PUB with a body longer than announced has the rest read as a command", (s) =>
    playFresh(s, join(`PUB ${s.topic}\n`, int32(2), "abcdef\n")),
  );
  scenario("PUB counts what it published for its topic", async (s) => {
    await s.publish("one", "three", "seventeen");
    await s.stats((topic) => topic.depth === 3);
  });
}

function batches(scenario: DefineScenario): void {
  /** Plays a batch that may be refused, and shows whether any of it was published. */
  const mpub = (name: string, body: Uint8Array, size = body.length) =>
    scenario(`MPUB ${name}`, async (s) => {
      await playFresh(s, join(`MPUB ${s.topic}\n`, int32(size), body));
      const topic = await s.topicStats();
      s.note(`published: ${topic?.message_count ?? "no topic"}, depth ${topic?.depth ?? "no topic"}`);
    });

  mpub("of one message is taken", batch("m"));
  mpub("of several messages is taken", batch("a", "bb", "ccc"));
  mpub("with a message of exactly the limit is taken", batch(filled(MAX_MSG_BYTES), "b"));
  mpub("with a body of exactly the limit is taken", batch(filled(1020), filled(1020), filled(1020), filled(1012)));
  mpub("of the most messages a body can hold is taken", batch(...Array.from({ length: MAX_BATCH }, () => "m")));
  mpub("of one message too many is refused", join(int32(MAX_BATCH + 1), sized("m")));
  for (const size of [0, -1, -2147483648, MAX_BODY_BYTES + 1, 2147483647])
    mpub(`with a body size of ${size} is refused`, Buffer.alloc(0), size);
  for (const count of [0, -1, -2147483648, 2147483647]) mpub(`with a count of ${count} is refused`, join(int32(count), sized("m")));
  for (const size of [0, -1, MAX_MSG_BYTES + 1, 2147483647]) {
    mpub(`whose first message has size ${size} is refused`, join(int32(2), int32(size), sized("m")));
    mpub(`whose last message has size ${size} is refused whole`, join(int32(2), sized("m"), int32(size)));
  }
  mpub("whose body size says less than it holds is taken by its count", batch("a", "bb", "ccc"), 5);
  mpub("whose body size says more than it holds is taken by its count", batch("a", "bb", "ccc"), 100);
  mpub("whose body size says only the count is taken by its count", batch("a"), 4);
  mpub("with bytes behind its last message has them read as the next command", join(batch("a"), "NOPE\n"));
  mpub("that counts fewer messages than it holds has the rest read as a command", join(int32(1), sized("a"), sized("b"), "\n"));
  for (const [what, body] of [
    ["size", Buffer.from([0, 0])],
    ["count", join(int32(20), "\0\0")],
    ["first message's size", join(int32(20), int32(2), "\0\0")],
    ["first message", join(int32(20), int32(2), int32(5), "abc")],
    ["second message's size", join(int32(20), int32(2), sized("abc"), "\0")],
    ["second message", join(int32(20), int32(2), sized("abc"), int32(5), "de")],
  ] as const) {
    scenario(`MPUB whose ${what} is cut off is refused whole`, async (s) => {
      await playHalfClosed(s, join(`MPUB ${s.topic}\n`, body));
      s.note(`published: ${(await s.topicStats())?.message_count ?? "no topic"}`);
    });
  }
  scenario("MPUB that announces more messages than its body size can hold waits for them", (s) =>
    playHalfClosed(s, join(`MPUB ${s.topic}\n`, int32(9), int32(3), sized("a"))),
  );
}

function deferring(scenario: DefineScenario): void {
  const delays = ["0", "1", "00010", "10000", "10001", "-1", "+1", "1.5", "1s", "abc", "", "0x10"];
  for (const delay of [...delays, ...BEYOND_64_BITS]) {
    scenario(
      `DPUB with a delay of ${JSON.stringify(delay)} is answered as nsqd does`,
      (s) => playFresh(s, withBody(`DPUB ${s.topic} ${delay}`, "m")),
      WRAPPED_INTO_BOUNDS.includes(delay) ? [refusedEndlessDelay] : [],
    );
  }
  scenario("DPUB judges its delay before its body size", (s) => playFresh(s, join(`DPUB ${s.topic} 10001\n`, int32(0))));
  scenario("DPUB judges its topic before its delay", (s) => playFresh(s, withBody("DPUB bad! nan", "m")));
}

function consuming(scenario: DefineScenario): void {
  const counts = ["", " 0", " 1", ` ${MAX_RDY}`, ` ${MAX_RDY + 1}`, " -1", " +1", " abc", " 1.5", " ", " 007", " 1 2"];
  for (const count of [...counts, ...BEYOND_64_BITS.map((number) => ` ${number}`)]) {
    scenario(`RDY${count} is answered as nsqd does`, async (s) => {
      const peer = await s.consumer("a");
      // An unknown FIN is answered in every open connection, so it shows that RDY has been handled.
      peer.send(`RDY${count}`);
      peer.send(`FIN ${UNKNOWN_ID}`);
      const [answer] = await peer.frames(1);
      // A client whose count is refused is being disconnected, and may be gone already.
      if (answer?.text.startsWith("E_INVALID")) return peer.end();
      const ready = ((await s.rawStats(`&topic=${s.topic}`)).topics as { channels: { clients: { ready_count: number }[] }[] }[])[0]
        ?.channels[0]?.clients[0]?.ready_count;
      s.note(`ready count: ${ready ?? "gone"}`);
      await peer.end();
    });
  }
  const ids = {
    short: "0123456789abcde",
    long: "0123456789abcdef0",
    empty: "",
    "not hex": "!!!!!!!!!!!!!!!!",
    "upper case": "0123456789ABCDEF",
    zero: "0000000000000000",
    highest: "ffffffffffffffff",
    binary: "\x01\x02\x03\x04\x05\x06\x07\x08\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
  };
  for (const [what, id] of Object.entries(ids)) {
    scenario(`FIN, TOUCH and REQ of an id that is ${what} are answered as nsqd does`, async (s) => {
      for (const line of [`FIN ${id}`, `TOUCH ${id}`, `REQ ${id} 0`]) await playSubscribed(s, `${line}\n`);
    });
  }
  scenario("FIN and TOUCH ignore further parameters", (s) =>
    playSubscribed(s, `FIN ${UNKNOWN_ID} 1 2\nTOUCH ${UNKNOWN_ID} 1 2\nREQ ${UNKNOWN_ID} 0 1 2\n`),
  );
  for (const delay of ["0", "10000", "10001", "-1", "1.5", "abc", "", ...BEYOND_64_BITS]) {
    scenario(`REQ with a delay of ${JSON.stringify(delay)} is answered as nsqd does`, (s) =>
      playSubscribed(s, `REQ ${UNKNOWN_ID} ${delay}\n`),
    );
  }
  scenario("REQ judges its id before its delay", (s) => playSubscribed(s, "REQ short nan\n"));
  scenario("errors about a message leave the connection open", (s) =>
    playSubscribed(s, `FIN ${UNKNOWN_ID}\nTOUCH ${UNKNOWN_ID}\nREQ ${UNKNOWN_ID} 5\nFIN ${UNKNOWN_ID}\n`),
  );
  scenario("CLS twice is refused", (s) => playSubscribed(s, "CLS\nCLS\n"));
  scenario("RDY after CLS is ignored, even one out of range", (s) => playSubscribed(s, "CLS\nRDY 1\nRDY 100000\nRDY abc\n"));
  scenario("NOP, PUB and unknown ids after CLS are served", (s) =>
    playSubscribed(
      s,
      join("CLS\nNOP\n", withBody(`PUB ${s.topic}_other`, "m"), `FIN ${UNKNOWN_ID}\nTOUCH ${UNKNOWN_ID}\nREQ ${UNKNOWN_ID} 0\n`),
    ),
  );
  scenario("CLS ignores parameters", (s) => playSubscribed(s, "CLS now please\n"));
}

function trains(scenario: DefineScenario): void {
  scenario("answers come in the order of the commands of a train", (s) =>
    playFresh(
      s,
      join(
        withBody("IDENTIFY", '{"feature_negotiation":true}'),
        withBody(`PUB ${s.topic}`, "one"),
        "NOP\n",
        withBody(`MPUB ${s.topic}`, batch("two", "three")),
        withBody(`DPUB ${s.topic} 10`, "four"),
        `SUB ${s.topic}_in ch\n`,
        `FIN ${UNKNOWN_ID}\n`,
        withBody(`PUB ${s.topic}`, "five"),
        `TOUCH ${UNKNOWN_ID}\n`,
        "CLS\n",
        withBody(`PUB ${s.topic}`, "six"),
      ),
    ),
  );
  scenario("a train of two thousand PUBs is answered two thousand times", async (s) => {
    const peer = await s.peer("a");
    let answers = 0;
    peer.client.onFrame = (frame) => {
      answers++;
      if (frame.text !== "OK") s.note(`a< ${frame.type} ${frame.text}`);
    };
    peer.client.write(Buffer.concat(Array.from({ length: 2000 }, (_, i) => withBody(`PUB ${s.topic}`, `message ${i}`))));
    await peer.end();
    s.note(`${answers} answers`);
    await s.stats((topic) => topic.depth === 2000);
  });
  scenario("what was acknowledged before a fatal error stays published", async (s) => {
    await playFresh(
      s,
      join(
        withBody(`PUB ${s.topic}`, "one"),
        withBody(`MPUB ${s.topic}`, batch("two", "three")),
        "NONSENSE\n",
        withBody(`PUB ${s.topic}`, "never"),
      ),
    );
    await s.stats((topic) => topic.depth === 3);
  });
}
