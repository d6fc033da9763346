import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { Environment } from "../../../src/broker/broker.ts";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import { ByteSocket } from "../../behaviour/differential/support/byte-socket.ts";
import { ALL, AuthServer, deadAddress, granted } from "../../support/auth-server.ts";
import { InProcess } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { type RawClient, sized } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";

const GREETING = '{"identity":"tester","identity_url":"http://example.com/tester","permission_count":1}';

/** The number of bad answers in a row; `BUNSQ_AUTH_ROUNDS=10000` for a long test of what they leave behind. */
const ROUNDS = Number(process.env.BUNSQ_AUTH_ROUNDS ?? 1000);

/** Starts a broker that asks these auth servers. */
function start(addresses: string[], changes: Partial<BrokerOptions> = {}, environment: Environment = {}): InProcess {
  return InProcess.start({ authHttpAddresses: addresses, ...changes }, environment);
}

async function authed(brokers: InProcess, secret = "hush"): Promise<RawClient> {
  const client = await brokers.client();
  await client.call("AUTH", secret);
  return client;
}

/** The error before the end of the connection. */
async function lastError(client: RawClient): Promise<string> {
  const { type, text } = await client.next();
  await client.untilClosed();
  return `${type} ${text}`;
}

const clientStats = async (brokers: InProcess) => {
  const { readStats } = await import("../../../src/broker/metrics/stats.ts");
  return readStats(brokers.broker, "", "", true).producers?.[0];
};

describe("AUTH", () => {
  test("asks the auth server about the client, and responds with the answer", async () => {
    await using server = new AuthServer();
    await using brokers = start([server.address]);
    const client = await brokers.client();
    expect(JSON.parse(await client.call("IDENTIFY", '{"feature_negotiation":true}'))).toMatchObject({ auth_required: true });
    expect(await client.call("AUTH", "a b&c=\u00e9\n")).toBe(GREETING);
    expect(server.questions).toEqual([
      { method: "GET", path: "/auth", fields: { common_name: "", remote_ip: "127.0.0.1", secret: "a b&c=\u00e9\n", tls: "false" } },
    ]);
    expect(await client.call("PUB t", "x")).toBe("OK");
    expect(await clientStats(brokers)).toMatchObject({
      authed: true,
      auth_identity: "tester",
      auth_identity_url: "http://example.com/tester",
    });
    client.command("AUTH", "again");
    expect(await lastError(client)).toBe("error E_INVALID AUTH already set");
    expect(server.questions).toHaveLength(1);
  });

  test("asks by POST if the option says so, which keeps secrets out of the auth server's access log", async () => {
    await using server = new AuthServer();
    await using brokers = start([`http://${server.address}/who/is`], { authHttpRequestMethod: "post" });
    await authed(brokers);
    expect(server.questions).toEqual([
      { method: "POST", path: "/who/is", fields: { common_name: "", remote_ip: "127.0.0.1", secret: "hush", tls: "false" } },
    ]);
  });

  test("sends the auth server the user and password of its URL, which are not logged", async () => {
    let shown: string | null = null;
    await using server = new AuthServer((_, request) => {
      shown = request.headers.get("authorization");
      return new Response("", { status: 401 });
    });
    await using brokers = start([`http://broker:p%40ss@${server.address}/auth`]);
    const client = await brokers.client();
    client.command("AUTH", "x");
    expect(await lastError(client)).toBe("error E_AUTH_FAILED AUTH failed");
    expect(String(shown)).toBe(`Basic ${btoa("broker:p@ss")}`);
    expect(brokers.log.matching(/failed to auth against http:\/\/127/)).toHaveLength(1);
    expect(brokers.log.matching(/p%40ss|p@ss/)).toEqual([]);
  });

  test("follows redirects of an auth server, and keeps the query of its URL", async () => {
    await using moved = new AuthServer();
    await using server = new AuthServer(({ fields }) =>
      Response.redirect(`http://${moved.address}/new?${new URLSearchParams(fields)}`, 307),
    );
    await using brokers = start([`http://${server.address}/old?tenant=7`]);
    await authed(brokers);
    expect(moved.questions).toMatchObject([{ path: "/new", fields: { tenant: "7", secret: "hush" } }]);
  });

  test("asks one server after the other until one answers", async () => {
    await using server = new AuthServer();
    await using refusing = new AuthServer(() => new Response("no", { status: 500 }));
    await using brokers = start([deadAddress(), refusing.address, server.address]);
    // The first server is random.
    for (let i = 0; i < 12; i++) await authed(brokers);
    expect(server.questions).toHaveLength(12);
  });

  test("logs why all servers failed, but not the secret", async () => {
    await using refusing = new AuthServer((_, { url }) => new Response(`go\naway with ${url}`, { status: 403 }));
    const dead = deadAddress();
    await using brokers = start([dead, refusing.address]);
    const client = await brokers.client();
    client.command("AUTH", "top-secret & more");
    expect(await lastError(client)).toBe("error E_AUTH_FAILED AUTH failed");
    const [line] = brokers.log.matching(/AUTH failed failed to auth against/);
    expect(line).toContain(`failed to auth against ${dead} - `);
    expect(line).toContain(`failed to auth against ${refusing.address} - got response 403 Forbidden "go\\naway with http://`);
    expect(brokers.log.matching(/top-secret/)).toEqual([]);
  });

  test("with a secret that is too long for any server fails without a question to one", async () => {
    await using server = new AuthServer();
    await using brokers = start([server.address]);
    const client = await brokers.client();
    client.command("AUTH", "x".repeat(64 * 1024 + 1));
    expect(await lastError(client)).toBe("error E_AUTH_FAILED AUTH failed");
    expect(brokers.log.matching(/AUTH failed the secret has 65537 bytes/)).toHaveLength(1);
    expect(server.questions).toEqual([]);
    const long = "% ".repeat(8000);
    await authed(brokers, long).catch(() => {});
    // Bun's server accepts 16 KiB of headers.
    expect(brokers.log.matching(/got response 431/)).toHaveLength(1);
  });

  test("without any permission is refused", async () => {
    await using server = new AuthServer(() => granted([]));
    await using brokers = start([server.address]);
    const client = await brokers.client();
    client.command("AUTH", "x");
    expect(await lastError(client)).toBe("error E_UNAUTHORIZED AUTH no authorizations found");
  });

  test("is refused by a broker without auth servers", async () => {
    await using brokers = start([]);
    const client = await brokers.client();
    client.command("AUTH", "x");
    expect(await lastError(client)).toBe("error E_AUTH_DISABLED AUTH disabled");
  });

  test("is not needed by HTTP", async () => {
    await using server = new AuthServer();
    await using brokers = start([server.address]);
    const { startHttp } = await import("../../../src/broker/http/server.ts");
    const http = startHttp(Object.assign(brokers.broker, { options: { ...brokers.broker.options, httpAddress: "127.0.0.1:0" } }));
    const response = await fetch(`http://127.0.0.1:${http.port}/pub?topic=t`, { method: "POST", body: "x" });
    expect(await response.text()).toBe("OK");
    await http.stop();
  });

  for (const address of ["ftp://127.0.0.1:1/auth", "http://", "127.0.0.1:99999"]) {
    test(`of a server at ${address} keeps the broker from starting`, () => {
      expect(() => start([address])).toThrow("invalid -auth-http-address");
    });
  }
});

describe("a command that needs permission", () => {
  const COMMANDS: [name: string, send: (client: RawClient, topic: string) => void, quoted: string][] = [
    ["PUB", (client, topic) => client.command(`PUB ${topic}`, "x"), '""'],
    ["DPUB", (client, topic) => client.command(`DPUB ${topic} 100`, "x"), '""'],
    ["MPUB", (client, topic) => client.mpub(topic, ["x", "y"]), '""'],
    ["SUB", (client, topic) => client.command(`SUB ${topic} ch`), '"ch"'],
  ];
  const only: typeof ALL = { topic: "^mine$", channels: ["^ch$", "^$"], permissions: ["publish", "subscribe"] };

  for (const [name, send, quoted] of COMMANDS) {
    test(`${name} is refused without AUTH, then without the permission, and carried out with both`, async () => {
      await using server = new AuthServer(() => granted([only]));
      await using brokers = start([server.address]);
      const stranger = await brokers.client();
      send(stranger, "mine");
      expect(await lastError(stranger)).toBe(`error E_AUTH_FIRST AUTH required before ${name}`);
      const other = await authed(brokers);
      send(other, "other");
      expect(await lastError(other)).toBe(`error E_UNAUTHORIZED AUTH failed for ${name} on "other" ${quoted}`);
      expect([...brokers.broker.registry.topics.keys()]).toEqual([]);
      const client = await authed(brokers);
      send(client, "mine");
      expect(await client.response()).toBe("OK");
    });
  }

  test("is checked when a client changes the topic", async () => {
    await using server = new AuthServer(() => granted([{ ...ALL, topic: "^(?:a|b)$" }]));
    await using brokers = start([server.address]);
    const client = await authed(brokers);
    for (const topic of ["a", "b", "a", "a", "b"]) expect(await client.call(`PUB ${topic}`, "x")).toBe("OK");
    client.command("PUB c", "x");
    expect(await lastError(client)).toBe('error E_UNAUTHORIZED AUTH failed for PUB on "c" ""');
    expect(server.questions).toHaveLength(1);
  });

  test("asks again when the permissions have ended, and follows the new ones", async () => {
    const clock = new SteppedClock();
    let topics = "^a$";
    await using server = new AuthServer(() => granted([{ ...ALL, topic: topics }], { ttl: 1 }));
    await using brokers = start([server.address], {}, { clock });
    const client = await authed(brokers);
    expect(await client.call("PUB a", "x")).toBe("OK");
    topics = "^b$";
    await clock.pass(999);
    expect(await client.call("PUB a", "x")).toBe("OK");
    await clock.pass(1);
    client.command("PUB a", "x");
    expect((await client.next()).text).toBe('E_UNAUTHORIZED AUTH failed for PUB on "a" ""');
    expect(server.questions).toHaveLength(2);
    expect(server.questions[1]).toEqual(server.questions[0] as never);
  });

  const REVOKED: [title: string, answer: () => Response, words: string][] = [
    ["refuses", () => new Response("", { status: 403 }), "E_AUTH_FAILED AUTH failed"],
    ["has no entry for the client any more", () => granted([]), 'E_UNAUTHORIZED AUTH failed for PUB on "a" ""'],
  ];
  for (const [title, answer, words] of REVOKED) {
    test(`ends the connection of an authenticated client when the server ${title}`, async () => {
      const clock = new SteppedClock();
      await using server = new AuthServer(() => granted([ALL], { ttl: 1 }));
      await using brokers = start([server.address], {}, { clock });
      const client = await authed(brokers);
      server.answer = answer;
      expect(await client.call("PUB a", "x")).toBe("OK");
      await clock.pass(1000);
      client.command("PUB a", "x");
      expect((await client.next()).text).toBe(words);
      await client.untilClosed();
    });
  }
});

describe("while an auth server is asked", () => {
  /** An auth server whose answers wait for `open()`. */
  function slowServer(): { server: AuthServer; open(): void } {
    const gate = Promise.withResolvers<void>();
    return { server: new AuthServer(() => gate.promise.then(() => granted())), open: gate.resolve };
  }

  test("the client's further commands wait in their order, and other clients are served", async () => {
    const { server, open } = slowServer();
    await using _ = server;
    await using brokers = start([server.address]);
    const client = await brokers.client();
    client.command("AUTH", "x");
    for (let i = 0; i < 50; i++) client.command("PUB t", `${i}`);
    client.mpub("t", ["50", "51"]);
    client.command("SUB t ch");
    client.command("RDY 100");
    await until("the server is asked", () => server.questions.length === 1);
    const other = await brokers.client();
    other.command("PUB t", "x");
    expect(await lastError(other)).toBe("error E_AUTH_FIRST AUTH required before PUB");
    expect(client.frames).toEqual([]);
    open();
    expect(await client.response()).toBe(GREETING);
    for (let i = 0; i < 52; i++) expect(await client.response()).toBe("OK");
    const bodies: string[] = [];
    while (bodies.length < 52) bodies.push((await client.message()).text);
    expect(bodies).toEqual(Array.from({ length: 52 }, (__, i) => `${i}`));
  });

  test("commands may come in any pieces", async () => {
    const { server, open } = slowServer();
    await using _ = server;
    await using brokers = start([server.address]);
    const client = await brokers.client();
    const train = Buffer.from("AUTH\n\0\0\0\x04hushPUB t\n\0\0\0\x03abcDPUB t 50\n\0\0\0\x01xNOP\nPUB t\n\0\0\0\x02", "latin1");
    for (let at = 0; at < train.length; at += 3) {
      client.write(train.subarray(at, at + 3));
      await new Promise((resolve) => setImmediate(resolve));
    }
    open();
    expect(await client.response()).toBe(GREETING);
    client.write("yz");
    for (let i = 0; i < 3; i++) expect(await client.response()).toBe("OK");
  });

  test("trains of commands in random pieces are answered in their order, whenever the answer comes", async () => {
    const seed = seedFromEnvironment();
    console.log(`BUNSQ_SEED=${seed}`);
    const random = new Random(seed);
    await using server = new AuthServer(async () => {
      for (let turns = random.int(0, 20); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
      return granted([{ ...ALL, topic: "^[abc]$" }]);
    });
    await using brokers = start([server.address]);
    const play = async () => {
      const expected: RegExp[] = [/permission_count/];
      const bytes: Buffer[] = [Buffer.from("AUTH\n"), sized("secret")];
      for (let commands = random.int(0, 12); commands > 0; commands--) {
        const topic = random.pick(["a", "b", "c"]);
        const body = sized("x".repeat(random.int(1, 300)));
        const count = Buffer.from([0, 0, 0, 2]);
        const [line, payload] = random.pick<[string, Buffer]>([
          [`PUB ${topic}\n`, body],
          [`DPUB ${topic} 50\n`, body],
          [`MPUB ${topic}\n`, sized(Buffer.concat([count, body, body]))],
          ["NOP\n", Buffer.alloc(0)],
        ]);
        bytes.push(Buffer.from(line), payload);
        if (line !== "NOP\n") expected.push(/^OK$/);
      }
      const [last, words] = random.pick<[string, RegExp]>([
        ["PUB d\n\0\0\0\x01x", /^E_UNAUTHORIZED AUTH failed for PUB on "d" ""$/],
        ["SUB d ch\n", /^E_UNAUTHORIZED AUTH failed for SUB on "d" "ch"$/],
        ["AUTH\n\0\0\0\x01x", /^E_INVALID AUTH already set$/],
        ["WHAT\n", /^E_INVALID invalid command WHAT$/],
      ]);
      const train = Buffer.concat([...bytes, Buffer.from(last, "latin1")]);
      const client = await brokers.client();
      for (let at = 0; at < train.length; ) {
        const length = random.int(1, random.chance(0.25) ? train.length : 40);
        client.write(train.subarray(at, at + length));
        at += length;
        if (random.chance(0.5)) await new Promise((resolve) => setImmediate(resolve));
      }
      for (const answer of [...expected, words]) expect((await client.next()).text).toMatch(answer);
      await client.untilClosed();
      brokers.forgetClients();
    };
    for (let trains = 0; trains < 100; trains++) await play();
    expect(brokers.log.matching(/Error: /)).toEqual([]);
  }, 30_000);

  test("heartbeats go on, and a client that has ended its side is still answered", async () => {
    const { server, open } = slowServer();
    await using _ = server;
    await using brokers = start([server.address]);
    const client = await brokers.client();
    await client.call("IDENTIFY", '{"heartbeat_interval":1000}');
    client.answerHeartbeats = false;
    client.command("AUTH", "x");
    await until("a heartbeat comes", () => client.heartbeats > 0);
    const socket = await ByteSocket.connect(brokers.broker.tcpPort);
    socket.write("  V2AUTH\n\0\0\0\x01xPUB t\n\0\0\0\x01x");
    socket.halfClose();
    await until("both are asked for", () => server.questions.length === 2);
    open();
    const text = (await socket.untilEnd()).toString();
    expect(text).toContain("permission_count");
    expect(text).toEndWith("OK");
    expect(await client.response()).toBe(GREETING);
  });

  test("the question ends with its client's connection", async () => {
    const { server, open } = slowServer();
    await using _ = server;
    await using brokers = start([server.address]);
    let aborted = 0;
    const { answer } = server;
    server.answer = (question, request) => {
      request.signal.addEventListener("abort", () => aborted++);
      return answer(question, request);
    };
    const client = await brokers.client();
    client.command("AUTH", "x");
    await until("the server is asked", () => server.questions.length === 1);
    client.terminate();
    await until("the question is given up", () => aborted === 1);
    open();
    await until("the connection is closed", () => brokers.broker.listener.connections.size === 0);
  });

  test("a broker that shuts down does not wait for the answer", async () => {
    const { server } = slowServer();
    await using _ = server;
    const brokers = start([server.address]);
    const client = await brokers.client();
    client.command("AUTH", "x");
    await until("the server is asked", () => server.questions.length === 1);
    await brokers[Symbol.asyncDispose]();
    await client.untilClosed();
  });
});

describe("a bad auth server", () => {
  const LIMITS = { httpClientConnectTimeoutMs: 200, httpClientRequestTimeoutMs: 200 };
  const ANSWERS: [title: string, answer: () => Response | Promise<Response>, why: RegExp][] = [
    ["that never answers", () => new Promise<Response>(() => {}), /no answer within 200 ms/],
    ["that answers with HTML", () => new Response("<html>welcome</html>"), /not JSON/],
    ["that answers with only OK", () => new Response("OK"), /not JSON/],
    ["that answers with an empty body", () => new Response(""), /not JSON/],
    ["that answers with null", () => new Response("null"), /invalid TTL 0/],
    ["that answers with status 204", () => new Response(null, { status: 204 }), /got response 204/],
    [
      "that answers with 403 and a port without a listener",
      () => Response.json({ https_port: 1 }, { status: 403 }),
      /ECONNREFUSED|refused/i,
    ],
    ["that redirects to itself", () => new Response(null, { status: 302, headers: { Location: "/auth" } }), /got response 302/],
    [
      "that redirects to a file",
      () => new Response(null, { status: 302, headers: { Location: "file:///etc/passwd" } }),
      /got response 302/,
    ],
    ["that sends too much", () => new Response("x".repeat(2 * 1024 * 1024)), /longer than 524288 bytes/],
    [
      "that answers slowly",
      () => new Response(new ReadableStream({ pull: (to) => Bun.sleep(20).then(() => to.enqueue("[")) })),
      /no answer within/,
    ],
    ["whose pattern would be too large", () => granted([{ ...ALL, topic: "[a-z]{1000}".repeat(500) }]), /expression too large/],
    ["whose pattern is malformed", () => granted([{ ...ALL, topic: "(" }]), /unable to compile topic/],
    ["that grants an unknown permission", () => granted([{ ...ALL, permissions: ["rule"] }]), /unknown permission rule/],
  ];
  for (const [title, answer, why] of ANSWERS) {
    test(`${title} is E_AUTH_FAILED for the client, and logged`, async () => {
      await using server = new AuthServer(answer);
      await using brokers = start([server.address], LIMITS);
      const client = await brokers.client();
      client.command("AUTH", "x");
      expect(await lastError(client)).toBe("error E_AUTH_FAILED AUTH failed");
      const [line = ""] = brokers.log.matching(/AUTH failed failed to auth against/);
      expect(line).toMatch(why);
      expect(line.length).toBeLessThan(2000);
    });
  }

  test("leaves nothing behind, however often it is asked, and other clients are served", async () => {
    const rounds = ANSWERS.filter(([title]) => !/never|slowly|too much|too large/.test(title));
    let round = 0;
    await using server = new AuthServer(({ fields }) => {
      if (fields.secret === "good") return granted();
      return rounds[round++ % rounds.length]![1]();
    });
    await using brokers = start([server.address], { httpClientConnectTimeoutMs: 5000, httpClientRequestTimeoutMs: 5000 });
    const neighbour = await authed(brokers, "good");
    const play = async (count: number) => {
      for (let played = 0; played < count; played += 50) {
        const bad = Array.from({ length: 50 }, async () => {
          const client = await brokers.client();
          client.command("AUTH", "bad");
          client.command("PUB t", "never");
          expect(await lastError(client)).toBe("error E_AUTH_FAILED AUTH failed");
        });
        expect(await neighbour.call("PUB t", "x")).toBe("OK");
        await Promise.all(bad);
        // The clients and log lines that the test keeps do not count.
        brokers.forgetClients();
        brokers.log.lines.length = 0;
        server.questions.length = 0;
      }
      await until("only the neighbour is left", () => brokers.broker.listener.connections.size === 1);
      Bun.gc(true);
      return (await import("bun:jsc")).heapStats().objectTypeCounts;
    };
    const before = await play(300);
    const after = await play(ROUNDS);
    if (ROUNDS > 1000)
      console.log(
        `after ${ROUNDS} rounds: ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB, ${readdirSync("/proc/self/fd").length} files`,
      );
    for (const type of ["Connection", "ClientAuth", "AbortController", "Timeout", "Promise"]) {
      expect((after[type] ?? 0) - (before[type] ?? 0)).toBeLessThan(200);
    }
    expect(brokers.broker.registry.topics.get("t")?.messageCount).toBe((300 + ROUNDS) / 50);
  }, 60_000);
});
