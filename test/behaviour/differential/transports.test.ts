import { afterAll, beforeAll, expect, test } from "bun:test";
import { clientTls, type Holder, TLS_FLAGS } from "../../support/certs/certs.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Program, type Server, startServer } from "../../support/server.ts";

type Play = (server: Server) => Promise<unknown[]>;

/** Plays the same on nsqd and on bunsq, and compares what was noted. */
function describePair(name: string, args: string[], scenarios: Record<string, Play>): void {
  describeUnless(missing("nsqd"))(name, () => {
    const servers: Server[] = [];
    beforeAll(async () => {
      for (const program of ["nsqd", "bunsq"] as Program[]) servers.push(await startServer({ program, args: ["--node-id=7", ...args] }));
    }, 30_000);
    afterAll(async () => {
      await Promise.all(servers.map((server) => server.stop()));
    });
    for (const [what, play] of Object.entries(scenarios)) {
      test(what, async () => {
        const [theirs, ours] = await Promise.all(servers.map(play));
        expect(theirs).not.toBeEmpty();
        expect(ours).toEqual(theirs as unknown[]);
      }, 20_000);
    }
  });
}

/** What a client with these wishes hears, up to its first publish. */
const asks =
  (wishes: Record<string, unknown>, holder?: Holder): Play =>
  async ({ tcpPort }) => {
    const client = await RawClient.connect(tcpPort);
    const notes: unknown[] = [];
    try {
      notes.push(await client.negotiate(wishes, clientTls(holder)));
      notes.push(await client.call("PUB t", "x".repeat(1000)));
    } catch (error) {
      notes.push((error as Error).message);
    }
    client.terminate();
    return notes;
  };

/** The frames that come back for bytes without TLS, up to the end of the connection. */
const says =
  (line: string, body?: string): Play =>
  async ({ tcpPort }) => {
    const client = await RawClient.connect(tcpPort);
    client.command(line, body);
    const frame = await client.next();
    await client.untilClosed();
    return [frame.type, frame.text];
  };

const http =
  (method: string, path: string): Play =>
  async (server) => {
    const response = await server.http(method, path);
    const headers = ["content-type", "x-nsq-content-type"].map((name) => response.headers.get(name));
    return [response.status, ...headers, (await response.text()).replace(/"https_port": \d+/, '"https_port": N')];
  };

/** What /stats tells of a producer's layers; the cipher's name only as far as both have one. */
const shows =
  (wishes: Record<string, unknown>): Play =>
  async (server) => {
    const client = await RawClient.connect(server.tcpPort);
    await client.negotiate(
      { client_id: "shown", ...wishes },
      { ...clientTls(), ...(wishes.tls_v1 === true ? { maxVersion: 0x0303 } : {}) },
    );
    await client.call("PUB shown", "x");
    const stats = (await (await server.http("GET", "/stats?format=json")).json()) as { producers: Record<string, unknown>[] };
    const producer = stats.producers.find((one) => one.client_id === "shown") ?? {};
    client.terminate();
    return Object.entries(producer).filter(([key]) => /^(tls|deflate|snappy)/.test(key) && key !== "tls_cipher_suite");
  };

describePair("transports are agreed on as nsqd does", [...TLS_FLAGS, "--max-deflate-level=4"], {
  "with nothing wished for": asks({}),
  TLS: asks({ tls_v1: true }),
  snappy: asks({ snappy: true }),
  deflate: asks({ deflate: true }),
  "deflate at a level below the highest": asks({ deflate: true, deflate_level: 2 }),
  "deflate at a level above the highest": asks({ deflate: true, deflate_level: 9 }),
  "deflate at a level below zero": asks({ deflate: true, deflate_level: -3 }),
  "TLS and snappy": asks({ tls_v1: true, snappy: true }),
  "TLS and deflate": asks({ tls_v1: true, deflate: true }),
  "both compressions, refused": asks({ snappy: true, deflate: true }),
  "both compressions behind TLS, refused before it": asks({ tls_v1: true, snappy: true, deflate: true }),
  "wishes without feature negotiation": says('IDENTIFY\n\0\0\0\x34{"tls_v1":true,"snappy":true,"heartbeat_interval":-5}'),
  "plain bytes where TLS is due": async ({ tcpPort }) => {
    const client = await RawClient.connect(tcpPort);
    await client.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, tls_v1: true }));
    client.command("PUB t", "x");
    const frame = await client.next();
    await client.untilClosed();
    return [frame.type, frame.text];
  },
  "what /stats shows of a plain client": shows({}),
  "what /stats shows of TLS": shows({ tls_v1: true }),
  "what /stats shows of snappy": shows({ snappy: true }),
  "what /stats shows of TLS and deflate": shows({ tls_v1: true, deflate: true }),
});

describePair("transports that are switched off are not agreed on", ["--deflate=false", "--snappy=false"], {
  "with everything wished for": asks({ tls_v1: true, snappy: true, deflate: true, deflate_level: 3 }),
});

const STRICT = [...TLS_FLAGS, `--tls-root-ca-file=${clientTls().caFile}`];
const refusals = {
  "a publish": says("PUB t", "x"),
  AUTH: says("AUTH", "secret"),
  "a command that nobody knows": says("HELLO"),
  "an empty line": says(""),
  NOP: says("NOP"),
  "a client that does not want TLS": asks({ snappy: true }),
};

describePair("a broker that requires TLS refuses as nsqd does", [...STRICT, "--tls-required"], {
  ...refusals,
  HTTP: http("GET", "/ping"),
  "HTTP with a path that nobody knows": http("POST", "/nowhere"),
  "no client with TLS": asks({ tls_v1: true }),
});

describePair("a broker that requires TLS but for HTTP refuses as nsqd does", [...STRICT, "--tls-required=tcp-https"], {
  ...refusals,
  "no HTTP": http("GET", "/ping"),
  "the requirement is told as a number": http("GET", "/config/tls_required"),
});

describePair("a policy for client certificates requires TLS", [...STRICT, "--tls-client-auth-policy=require-verify"], {
  ...refusals,
  HTTP: http("GET", "/ping"),
  "no client with a good certificate": asks({ tls_v1: true }, "client"),
});
