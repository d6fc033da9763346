import { afterAll } from "bun:test";
import { ALL, type Authorization, AuthServer, granted, type Question } from "../../support/auth-server.ts";
import { sized } from "../../support/raw-client.ts";
import { type DefineScenario, describeAgainstNsqd } from "./support/pair.ts";
import { type Peer, type Session, showBytes } from "./support/session.ts";
import { int32, join } from "./support/wire.ts";

/** How the auth server answers a secret: each question with the next, the last one again and again. */
interface Answer {
  status?: number;
  /** The whole body; without it, permissions with these changes. */
  body?: string;
  authorizations?: Authorization[] | null;
  changes?: { [field: string]: unknown };
}

/** By secret, which names scenario and broker. */
const answers = new Map<string, Answer[]>();
const asked = new Map<string, Question[]>();

const server = new AuthServer((question) => {
  const { secret = "" } = question.fields;
  const questions = asked.get(secret) ?? [];
  asked.set(secret, [...questions, question]);
  const told = answers.get(secret) ?? [{ status: 500 }];
  const { status = 200, body, authorizations = [ALL], changes } = told[Math.min(questions.length, told.length - 1)] as Answer;
  if (body === undefined && status === 200) return granted(authorizations as Authorization[], changes);
  return new Response(body ?? "", { status });
});
afterAll(() => server[Symbol.asyncDispose]());

let secrets = 0;

/** A peer that sends AUTH with a secret that is answered so; the transcript does not show the secret. */
async function sendAuth(s: Session, label: string, told: Answer[], identify?: string): Promise<{ peer: Peer; secret: string }> {
  const secret = `${s.program} ${++secrets} é&=+%`;
  answers.set(secret, told);
  const peer = await s.peer(label);
  if (identify !== undefined) {
    peer.send("IDENTIFY", identify);
    await peer.frames(1);
  }
  s.note(`${label}> AUTH`);
  peer.client.command("AUTH", secret);
  return { peer, secret };
}

/** Sends AUTH, and has its answer in the transcript. */
async function authed(s: Session, label: string, told: Answer[] = [{}], identify?: string): Promise<{ peer: Peer; secret: string }> {
  const sent = await sendAuth(s, label, told, identify);
  await sent.peer.frames(1);
  return sent;
}

const MAX_BODY_BYTES = 4096;

describeAgainstNsqd(
  "AUTH",
  {
    args: [`--auth-http-address=${server.address}`, `--max-body-size=${MAX_BODY_BYTES}`, "--http-client-request-timeout=2s"],
    goArgs: ["--deflate=false", "--snappy=false"],
    anywhere: [],
  },
  (scenario) => {
    answering(scenario);
    refusing(scenario);
    permitting(scenario);
    ending(scenario);
    around(scenario);
  },
);

function answering(scenario: DefineScenario): void {
  scenario("IDENTIFY tells that AUTH is required", async (s) => {
    const peer = await s.peer("a");
    peer.send("IDENTIFY", '{"feature_negotiation":true}');
    const frame = await peer.frame();
    s.note(`auth_required: ${JSON.parse(frame.text).auth_required}`);
  });
  scenario("AUTH is answered with who the client is, in Go's JSON", async (s) => {
    const changes = { identity: '<ä>&\u2028"\\\u0007😀', identity_url: "http://x/?a=1&b=2" };
    const { peer } = await authed(s, "a", [{ changes, authorizations: [ALL, ALL, ALL] }]);
    await peer.end();
  });
  scenario("the auth server is asked with all that is known of the client", async (s) => {
    const { secret, peer } = await authed(s, "a");
    for (const { method, path, fields } of asked.get(secret) ?? []) {
      s.note(`asked ${method} ${path} ${JSON.stringify({ ...fields, secret: fields.secret === secret })}`);
    }
    await peer.end();
  });
  scenario("an identity that is not told is empty", async (s) => {
    const { peer } = await authed(s, "a", [{ changes: { identity: null, identity_url: undefined } }]);
    await peer.end();
  });
  for (const size of [0, -1, MAX_BODY_BYTES + 1, 2 ** 31 - 1]) {
    scenario(`AUTH with a size of ${size} is refused`, async (s) => {
      const peer = await s.peer("a");
      await peer.play(join("AUTH\n", int32(size)));
    });
  }
  for (const line of ["AUTH x\n", "AUTH \n", "auth\n"]) {
    scenario(`${JSON.stringify(line)} is no AUTH`, async (s) => {
      const peer = await s.peer("a");
      await peer.play(join(line, sized("x")));
    });
  }
  for (const bytes of ["AUTH\n", "AUTH\n\0\0", "AUTH\n\0\0\0\x05abc"]) {
    scenario(`${JSON.stringify(bytes)} and then nothing is refused`, async (s) => {
      const socket = await s.bytes();
      socket.write(join("  V2", bytes));
      socket.halfClose();
      s.note(`a< ${showBytes(await socket.untilEnd())}`);
    });
  }
  scenario("AUTH comes once only", async (s) => {
    const { peer } = await authed(s, "a");
    peer.send("AUTH", "again");
    await peer.untilClosed();
  });
  scenario("AUTH after SUB is refused", async (s) => {
    const { peer } = await authed(s, "a");
    peer.send(`SUB ${s.topic} ch`);
    await peer.frames(1);
    peer.send("AUTH", "again");
    await peer.untilClosed();
  });
}

function refusing(scenario: DefineScenario): void {
  const refused: [title: string, answer: Answer][] = [
    ["status 403", { status: 403 }],
    ["status 403 with nonsense", { status: 403, body: '{"https_port": "x"}' }],
    ["status 401", { status: 401, body: "no" }],
    ["status 500", { status: 500 }],
    ["status 204", { status: 204 }],
    ["no JSON", { body: "welcome" }],
    ["nothing", { body: " " }],
    ["null", { body: "null" }],
    ["a list", { body: "[]" }],
    ["JSON and more", { body: '{"ttl":60,"authorizations":[]} x' }],
    ["no TTL", { changes: { ttl: undefined } }],
    ["a TTL of 0", { changes: { ttl: 0 } }],
    ["a negative TTL", { changes: { ttl: -5 } }],
    ["a TTL with a fraction", { body: '{"ttl":1.5,"authorizations":[]}' }],
    ["a TTL as text", { changes: { ttl: "60" } }],
    ["an identity that is a number", { changes: { identity: 7 } }],
    ["permissions that are no list", { changes: { authorizations: {} } }],
    ["an unknown permission", { authorizations: [{ ...ALL, permissions: ["publish", "admin"] }] }],
    ["a permission of null", { body: '{"ttl":60,"authorizations":[{"topic":"a","permissions":[null]}]}' }],
    ["a topic pattern that is none", { authorizations: [{ ...ALL, topic: "(" }] }],
    ["a topic pattern of JavaScript's", { authorizations: [{ ...ALL, topic: "(?=a)" }] }],
    ["a channel pattern that is none", { authorizations: [{ ...ALL, channels: [".*", "*"] }] }],
    ["no permissions", { authorizations: [] }],
    ["permissions of null", { authorizations: null }],
    ["no permissions at all", { body: '{"ttl":60}' }],
  ];
  for (const [title, answer] of refused) {
    scenario(`an auth server that answers with ${title} lets nobody in`, async (s) => {
      const { peer } = await sendAuth(s, "a", [answer]);
      await peer.untilClosed();
    });
  }
  const COMMANDS: [name: string, bytes: (topic: string) => Buffer][] = [
    ["PUB", (topic) => join(`PUB ${topic}\n`, sized("x"))],
    ["DPUB", (topic) => join(`DPUB ${topic} 10\n`, sized("x"))],
    ["MPUB", (topic) => join(`MPUB ${topic}\n`, sized(join(int32(1), sized("x"))))],
    ["SUB", (topic) => join(`SUB ${topic} ch\n`)],
  ];
  for (const [name, bytes] of COMMANDS) {
    scenario(`${name} before AUTH is refused`, async (s) => {
      const peer = await s.peer("a");
      await peer.play(bytes(s.topic));
      s.note(`topic: ${await s.topicStats()}`);
    });
    scenario(`${name} without permission is refused`, async (s) => {
      const { peer } = await authed(s, "a", [{ authorizations: [{ ...ALL, topic: "^other$" }] }]);
      await peer.play(bytes(s.topic));
      s.note(`topic: ${await s.topicStats()}`);
    });
    scenario(`${name} with a bad name or size is refused for that, before and after AUTH`, async (s) => {
      for (const bad of ["bad$name", ""]) {
        const stranger = await s.peer("a");
        await stranger.play(bytes(bad));
        const { peer } = await authed(s, "b");
        await peer.play(bytes(bad));
      }
    });
  }
  for (const train of [
    "PUB t\n\0\0\0\0",
    "PUB t\n\x7f\0\0\0",
    "MPUB t\n\0\0\0\0",
    "DPUB t x\n",
    "SUB t\n",
    "SUB t bad$\n",
    "FIN 0123456789abcdef\n",
    "RDY 1\n",
    "NOP\n",
    "CLS\n",
  ]) {
    scenario(`${JSON.stringify(train)} before AUTH`, async (s) => {
      const peer = await s.peer("a");
      await peer.play(train);
    });
  }
}

function permitting(scenario: DefineScenario): void {
  const cases: [title: string, line: Partial<Authorization>][] = [
    ["everything", {}],
    ["publishing alone", { permissions: ["publish"] }],
    ["subscribing alone", { permissions: ["subscribe"] }],
    ["nothing in particular", { permissions: [] }],
    ["no channel", { channels: [] }],
    ["one channel", { channels: ["^ch$"] }],
    ["a part of the name", { topic: "pic" }],
    ["a name in other letters", { topic: "(?i)TOPIC" }],
    ["a beginning", { topic: "\\Atopic\\d+\\z" }],
    ["a POSIX class", { topic: "^[[:alnum:]]+$" }],
    ["a literal", { topic: "\\Qtopic\\E" }],
    ["an empty channel", { channels: ["^$"] }],
    ["an empty pattern", { topic: "", channels: [""] }],
  ];
  for (const [title, line] of cases) {
    scenario(`a line for ${title}: what it allows`, async (s) => {
      for (const [label, send] of [
        ["pub", (peer: Peer) => peer.send(`PUB ${s.topic}`, "x")],
        ["sub", (peer: Peer) => peer.send(`SUB ${s.topic} ch`)],
        ["ephemeral", (peer: Peer) => peer.send(`SUB ${s.topic} ch#ephemeral`)],
      ] as const) {
        const { peer } = await authed(s, label, [{ authorizations: [{ ...ALL, ...line }] }]);
        send(peer);
        await peer.frames(1);
        await peer.end();
      }
    });
  }
  scenario("what comes behind AUTH is done in its order", async (s) => {
    const { peer } = await sendAuth(s, "a", [{}]);
    const topic = s.topic;
    await peer.play(join(`PUB ${topic}\n`, sized("1"), `PUB ${topic}\n`, sized("2"), `SUB ${topic} ch\nRDY 2\n`));
  });
  scenario("what comes behind an AUTH that fails is not done", async (s) => {
    const { peer } = await sendAuth(s, "a", [{ status: 500 }]);
    await peer.play(join(`PUB ${s.topic}\n`, sized("1")));
    s.note(`topic: ${await s.topicStats()}`);
  });
  scenario("a client that ends its side behind AUTH and PUB is answered", async (s) => {
    const secret = `${s.program} ${++secrets}`;
    answers.set(secret, [{}]);
    const socket = await s.bytes();
    socket.write(join("  V2AUTH\n", sized(secret), `PUB ${s.topic}\n`, sized("1")));
    socket.halfClose();
    s.note(`a< ${showBytes(await socket.untilEnd())}`);
  });
}

function ending(scenario: DefineScenario): void {
  const ONE_SECOND = { changes: { ttl: 1 } };
  /** Publishes until something else than OK comes, or for two seconds. */
  const publishOn = async (s: Session, peer: Peer) => {
    const deadline = Date.now() + 2000;
    let answer = "OK";
    while (answer === "OK" && Date.now() < deadline) {
      peer.client.command(`PUB ${s.topic}`, "x");
      answer = (await peer.client.next()).text;
      await Bun.sleep(50);
    }
    s.note(`at last: ${answer}`);
  };
  const later: [title: string, answer: Answer][] = [
    ["are confirmed", ONE_SECOND],
    ["are for something else", { authorizations: [{ ...ALL, topic: "^other$" }] }],
    ["are none", { authorizations: [] }],
    ["are refused", { status: 403 }],
    ["come with no TTL", { changes: { ttl: 0 } }],
    ["make no sense", { body: "?" }],
  ];
  for (const [title, answer] of later) {
    scenario(`permissions that have ended are asked for anew, and ${title}`, async (s) => {
      const { peer, secret } = await authed(s, "a", [ONE_SECOND, answer]);
      await publishOn(s, peer);
      s.note(`asked again: ${(asked.get(secret)?.length ?? 0) > 1}`);
      await peer.end();
    });
  }
  scenario("a consumer goes on when its permissions have ended", async (s) => {
    const { peer } = await authed(s, "a", [ONE_SECOND, { status: 403 }]);
    peer.send(`SUB ${s.topic} ch`);
    await peer.frames(1);
    peer.send("RDY 1");
    await Bun.sleep(1200);
    const { peer: producer } = await authed(s, "b");
    producer.send(`PUB ${s.topic}`, "x");
    await producer.frames(1);
    const message = await peer.frame();
    peer.client.command(`FIN ${message.id}`);
    await peer.settle();
    await producer.end();
    await peer.end();
  });
  scenario("SUB asks anew when the permissions have ended", async (s) => {
    const { peer } = await authed(s, "a", [ONE_SECOND, { authorizations: [{ ...ALL, channels: ["^other$"] }] }]);
    await Bun.sleep(1200);
    peer.send(`SUB ${s.topic} ch`);
    await peer.untilClosed();
  });
  scenario("MPUB asks anew when the permissions have ended", async (s) => {
    const { peer } = await authed(s, "a", [ONE_SECOND, {}]);
    await Bun.sleep(1200);
    peer.raw(join(`MPUB ${s.topic}\n`, sized(join(int32(2), sized("x"), sized("y"))), `PUB ${s.topic}\n`, sized("z")));
    await peer.frames(2);
    await peer.end();
  });
}

function around(scenario: DefineScenario): void {
  scenario("HTTP needs no AUTH", async (s) => {
    await s.http("POST", `/pub?topic=${s.topic}`, "x");
    await s.http("POST", `/mpub?topic=${s.topic}`, "x\ny");
  });
  scenario("the statistics tell who a client is", async (s) => {
    const { peer: producer } = await authed(s, "a", [{ changes: { identity_url: "" } }]);
    producer.send(`PUB ${s.topic}`, "x");
    await producer.frames(1);
    const { peer: consumer } = await authed(s, "b", [{ changes: { identity: "other" } }]);
    consumer.send(`SUB ${s.topic} ch`);
    await consumer.frames(1);
    type Client = { [field: string]: unknown };
    const stats = (await s.rawStats(`&topic=${s.topic}`)) as unknown as {
      topics: { channels: { clients: Client[] }[] }[];
      producers: Client[];
    };
    // Other scenarios' producers are there too, without counts for this topic.
    const producers = stats.producers.filter(({ pub_counts }) => pub_counts !== undefined);
    for (const client of [...(stats.topics[0]?.channels[0]?.clients ?? []), ...producers]) {
      s.note(Object.keys(client).join(" "));
      s.note(JSON.stringify([client.authed, client.auth_identity, client.auth_identity_url]));
    }
    await producer.end();
    await consumer.end();
  });
}
