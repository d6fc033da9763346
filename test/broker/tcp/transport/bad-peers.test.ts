import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { createDeflateRaw } from "node:zlib";
import { clientTls, type Holder, TLS_FLAGS } from "../../../support/certs/certs.ts";
import { compressDeflate, RawClient, sized } from "../../../support/raw-client.ts";
import { type Server, startServer, until } from "../../../support/server.ts";

/** A handshake that is not finished ends after 5 s, as in nsqd. */
const HANDSHAKE_MS = 5000;
const MAX_BODY_BYTES = 64 * 1024;

let server: Server;
beforeAll(async () => {
  server = await startServer({
    args: [...TLS_FLAGS, `--tls-root-ca-file=${clientTls().caFile}`, `--max-body-size=${MAX_BODY_BYTES}`, "--max-msg-size=32768"],
  });
}, 30_000);
afterAll(async () => {
  await server?.stop();
});

const IDENTIFY = (layers: object) => JSON.stringify({ feature_negotiation: true, ...layers });

/** A client that negotiated TLS, and has not started its handshake. */
async function promisedTls(): Promise<RawClient> {
  const client = await RawClient.connect(server.tcpPort);
  expect(JSON.parse(await client.call("IDENTIFY", IDENTIFY({ tls_v1: true }))).tls_v1).toBeTrue();
  return client;
}

async function compressed(layers: object): Promise<RawClient> {
  const client = await RawClient.connect(server.tcpPort);
  await client.negotiate({ ...layers }, clientTls());
  return client;
}

/** The error that a client gets before the end of the connection. */
async function lastError(client: RawClient, timeoutMs = 5000): Promise<string> {
  const frame = await client.next(timeoutMs);
  expect(frame.type).toBe("error");
  await client.untilClosed();
  return frame.text;
}

describe("a peer that negotiated TLS", () => {
  test("gets an error for plain bytes in place of a handshake", async () => {
    const client = await promisedTls();
    client.command("PUB t", "secret");
    expect(await lastError(client)).toBe("E_IDENTIFY_FAILED IDENTIFY failed tls: first record does not look like a TLS handshake");
  });

  test(
    "is disconnected when it is silent before the handshake, or in its middle",
    async () => {
      const began = Date.now();
      const silent = await promisedTls();
      const half = await promisedTls();
      // The first half of a ClientHello.
      half.writeRaw(Buffer.from("16030100c8010000c40303", "hex"));
      const errors = await Promise.all([lastError(silent, 2 * HANDSHAKE_MS), lastError(half, 2 * HANDSHAKE_MS)]);
      for (const error of errors) expect(error).toMatch(/^E_IDENTIFY_FAILED IDENTIFY failed read tcp \S+: i\/o timeout$/);
      expect(Date.now() - began).toBeGreaterThanOrEqual(HANDSHAKE_MS - 500);
    },
    4 * HANDSHAKE_MS,
  );

  test("is disconnected after garbage in the form of a handshake", async () => {
    const client = await promisedTls();
    client.onFrame = () => {};
    client.writeRaw(Buffer.concat([Buffer.from("1603010040", "hex"), Buffer.alloc(64, 0x55)]));
    await client.untilClosed();
  });

  test("leaves nothing behind when it disconnects", async () => {
    const client = await promisedTls();
    client.terminate();
  });

  test("gets commands that it sends before its handshake neither executed nor answered", async () => {
    const client = await RawClient.connect(server.tcpPort);
    client.write(Buffer.concat([Buffer.from("IDENTIFY\n"), sized(IDENTIFY({ tls_v1: true })), Buffer.from("PUB injected\n"), sized("x")]));
    expect(JSON.parse(await client.response()).tls_v1).toBeTrue();
    await client.startTls(clientTls());
    expect(await client.response()).toBe("OK");
    expect(await client.call("PUB after", "x")).toBe("OK");
    const stats = (await (await server.http("GET", "/stats?format=json&topic=injected")).json()) as Stats;
    expect(stats.topics ?? []).toEqual([]);
    client.close();
  });
});

describe.each([
  ["require-verify", undefined, "tls: client didn't provide a certificate"],
  ["require-verify", "foreign", "tls: failed to verify certificate: unable to verify the first certificate"],
  ["require-verify", "expired", "tls: failed to verify certificate: certificate has expired"],
  ["require-verify", "client", undefined],
  ["require", undefined, "tls: client didn't provide a certificate"],
  ["require", "foreign", undefined],
  ["require", "expired", undefined],
] as [string, Holder | undefined, string | undefined][])("under %s a client that shows %s", (policy, holder, problem) => {
  test(problem === undefined ? "is accepted" : "is refused, and its commands are not executed", async () => {
    await using strict = await startServer({
      args: [...TLS_FLAGS, `--tls-client-auth-policy=${policy}`, `--tls-root-ca-file=${clientTls().caFile}`, "--tls-required=tcp-https"],
    });
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      const client = await RawClient.connect(strict.tcpPort);
      expect(JSON.parse(await client.call("IDENTIFY", IDENTIFY({ tls_v1: true }))).tls_v1).toBeTrue();
      await client.startTls({ ...clientTls(holder), ...only(version) });
      if (problem === undefined) {
        expect(await client.response()).toBe("OK");
        expect(await client.call("PUB t", "x")).toBe("OK");
        client.close();
      } else {
        client.command("PUB t", "x");
        expect(await lastError(client)).toBe(`E_IDENTIFY_FAILED IDENTIFY failed ${problem}`);
      }
    }
    const stats = (await (await strict.http("GET", "/stats?format=json&topic=t")).json()) as Stats;
    expect(stats.topics?.[0]?.message_count ?? 0).toBe(problem === undefined ? 2 : 0);
  }, 20_000);
});

test("a client below --tls-min-version is refused, and one at it is accepted", async () => {
  for (const [least, older, fitting] of [
    ["tls1.3", "TLSv1.2", "TLSv1.3"],
    ["tls1.2", undefined, "TLSv1.2"],
  ] as const) {
    await using strict = await startServer({ args: [...TLS_FLAGS, `--tls-min-version=${least}`] });
    if (older !== undefined) {
      const client = await RawClient.connect(strict.tcpPort);
      expect(JSON.parse(await client.call("IDENTIFY", IDENTIFY({ tls_v1: true }))).tls_v1).toBeTrue();
      await expect(client.startTls({ ...clientTls(), ...only(older) })).rejects.toThrow();
      await client.untilClosed();
    }
    const client = await RawClient.connect(strict.tcpPort);
    await client.negotiate({ tls_v1: true }, { ...clientTls(), ...only(fitting) });
    expect(await client.call("PUB t", "x")).toBe("OK");
    const stats = (await (await strict.http("GET", "/stats?format=json")).json()) as { producers: { tls_version: string }[] };
    expect(stats.producers.map((producer) => producer.tls_version)).toEqual([fitting.replace("v", "")]);
    client.close();
  }
}, 20_000);

test.each([[{ tls_v1: true }], [{ deflate: true }], [{ tls_v1: true, snappy: true }]])(
  "a client that ends its side is answered before the connection ends (%o)",
  async (layers) => {
    const client = await RawClient.connect(server.tcpPort);
    await client.negotiate(layers, clientTls());
    for (let i = 0; i < 100; i++) client.command("PUB ended", "x".repeat(1000));
    client.halfClose();
    for (let i = 0; i < 100; i++) expect(await client.response()).toBe("OK");
    await client.untilClosed();
  },
);

/** The limits of the TLS version, which Bun's types lack. */
function only(version: "TLSv1.2" | "TLSv1.3"): object {
  const number = version === "TLSv1.2" ? 0x0303 : 0x0304;
  return { minVersion: number, maxVersion: number };
}

describe("a peer with compression", () => {
  test.each([
    ["deflate", Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ["snappy", Buffer.from("0102030405060708", "hex")],
  ])("that sends a corrupt %s stream is disconnected", async (layer, garbage) => {
    const client = await compressed({ [layer]: true });
    client.writeRaw(garbage);
    await client.untilClosed();
    await until("the reason is logged", () => /failed to read command - (flate|snappy): /.test(server.log()));
  });

  test.each([
    ["deflate", "ffffffff"],
    ["snappy", "0203040506"],
  ])("that sends a corrupt stream within a body gets an error for the body (%s)", async (layer, garbage) => {
    const client = await compressed({ [layer]: true });
    client.write(Buffer.concat([Buffer.from("PUB t\n"), sized("whole"), Buffer.from("PUB t\n"), Buffer.from([0, 0, 0, 100, 1, 2, 3])]));
    expect(await client.response()).toBe("OK");
    client.writeRaw(Buffer.from(garbage, "hex"));
    expect(await lastError(client)).toBe("E_BAD_MESSAGE PUB failed to read message body");
  });

  test("that sends bytes after the end of its deflate stream is disconnected", async () => {
    const client = await compressed({ deflate: true });
    const stream = createDeflateRaw();
    stream.on("data", (piece) => client.writeRaw(piece));
    stream.end(Buffer.concat([Buffer.from("PUB t\n"), sized("the last")]));
    expect(await client.response()).toBe("OK");
    client.writeRaw(Buffer.from("more"));
    await client.untilClosed();
  });

  test("that sends a decompression bomb as a body is stopped by the limit for bodies", async () => {
    const client = await compressed({ deflate: true });
    const bomb = compressDeflate(
      Buffer.concat([Buffer.from("PUB t\n"), Buffer.from([0x7f, 0xff, 0xff, 0xff]), Buffer.alloc(64 * 1024 * 1024)]),
    );
    expect(bomb.length).toBeLessThan(100_000);
    client.writeRaw(bomb);
    expect(await lastError(client)).toBe("E_BAD_MESSAGE PUB message too big 2147483647 > 32768");
  });

  test("that sends a decompression bomb as a line is stopped by the limit for lines", async () => {
    const client = await compressed({ deflate: true });
    client.writeRaw(compressDeflate(Buffer.alloc(64 * 1024 * 1024, "x")));
    await client.untilClosed();
  });

  test("that sends a decompression bomb of commands is served in turns, and other clients in between", async () => {
    const client = await compressed({ deflate: true });
    const other = await RawClient.connect(server.tcpPort);
    const before = rssBytes(server);
    // 120 million NOPs and one publish, in half a megabyte.
    const nops = Buffer.from("NOP\n".repeat(1_000_000));
    const stream = createDeflateRaw({ level: 9 });
    const pieces: Buffer[] = [];
    stream.on("data", (piece) => pieces.push(piece));
    for (let i = 0; i < 30; i++) stream.write(nops);
    stream.write(Buffer.concat([Buffer.from("PUB t\n"), sized("after the bomb")]));
    await new Promise<void>((resolve) => stream.flush(() => resolve()));
    client.writeRaw(Buffer.concat(pieces));
    let answered = 0;
    const waiting = client.response(30_000);
    let done = false;
    void waiting.then(() => {
      done = true;
    });
    while (!done) {
      expect(await other.call("PUB other", "x")).toBe("OK");
      answered++;
    }
    expect(await waiting).toBe("OK");
    expect(answered).toBeGreaterThan(10);
    expect(rssBytes(server) - before).toBeLessThan(64 * 1024 * 1024);
    client.close();
    other.close();
  }, 40_000);
});

interface Stats {
  topics: { message_count: number }[] | null;
}

function rssBytes({ process: child }: Server): number {
  const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
