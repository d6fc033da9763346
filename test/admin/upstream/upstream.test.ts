import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Discovery } from "../../../src/admin/upstream/discovery.ts";
import { AllFailed, gather } from "../../../src/admin/upstream/gather.ts";
import { Slots } from "../../../src/admin/upstream/slots.ts";
import { Upstream, UpstreamError, type UpstreamOptions } from "../../../src/admin/upstream/upstream.ts";
import { certificate } from "../../support/certs/certs.ts";

const OPTIONS: UpstreamOptions = {
  httpClientConnectTimeoutMs: 1000,
  httpClientRequestTimeoutMs: 5000,
  httpClientTlsInsecureSkipVerify: false,
  httpClientTlsRootCaFile: "",
  httpClientTlsCert: "",
  httpClientTlsKey: "",
};

const servers: Bun.Server<undefined>[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop(true)));
});

/** Starts a server. @returns its address */
function serve(fetch: (request: Request) => Response | Promise<Response>, tls?: Bun.TLSOptions): string {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch, ...(tls === undefined ? {} : { tls }) });
  servers.push(server);
  return `127.0.0.1:${server.port}`;
}

async function failureOf(promise: Promise<unknown>): Promise<UpstreamError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof UpstreamError)) throw new Error(`it did not fail as it should: ${error}`);
  return error;
}

describe("a request to a broker or lookup server", () => {
  const upstream = new Upstream(OPTIONS);

  test("that fails says which server, which call, and why", async () => {
    const refusing = serve(() => new Response('{"message":"TOPIC_NOT_FOUND"}', { status: 404 }));
    const refused = await failureOf(upstream.getJson(refusing, "/lookup?topic=a%20b"));
    expect([refused.server, refused.status]).toEqual([refusing, 404]);
    expect(refused.message).toBe(
      `Get "http://${refusing}/lookup?topic=a%20b": got response 404 Not Found "{\\"message\\":\\"TOPIC_NOT_FOUND\\"}"`,
    );
    expect((await failureOf(upstream.post("127.0.0.1:1", "/topic/pause?topic=a"))).message).toBe(
      'Post "http://127.0.0.1:1/topic/pause?topic=a": dial tcp 127.0.0.1:1: connect: connection refused',
    );
    expect((await failureOf(upstream.getJson("nonsense", "/info"))).message).toContain('invalid address "nonsense"');
    const strange = serve(() => new Response("<html>"));
    expect((await failureOf(upstream.getJson(strange, "/info"))).message).toContain("the answer is not JSON");
  });

  test("shows only the beginning of a long refusal", async () => {
    const address = serve(() => new Response("x".repeat(1_000_000), { status: 500 }));
    expect((await failureOf(upstream.getJson(address, "/stats"))).message.length).toBeLessThan(2000);
  });

  test("ends when the answer is longer than it may be", async () => {
    const mebibyte = Buffer.alloc(1024 * 1024, 0x20);
    let sent = 0;
    const endless = new ReadableStream({
      pull: (controller) => {
        sent++;
        controller.enqueue(mebibyte);
      },
    });
    const address = serve(() => new Response(endless));
    expect((await failureOf(upstream.getJson(address, "/stats"))).why).toContain("longer than 67108864 bytes");
    expect(sent).toBeLessThan(200);
  }, 30_000);

  test("ends when no answer comes in time", async () => {
    const address = serve(() => new Promise<Response>(() => {}));
    const hasty = new Upstream({ ...OPTIONS, httpClientRequestTimeoutMs: 50 });
    expect((await failureOf(hasty.getJson(address, "/stats"))).why).toBe("no answer within 50 ms");
  });

  test("is one of at most 16 that are under way", async () => {
    let underWay = 0;
    let most = 0;
    const address = serve(async () => {
      most = Math.max(most, ++underWay);
      await new Promise(setImmediate);
      underWay--;
      return Response.json({});
    });
    await Promise.all(Array.from({ length: 100 }, () => upstream.getJson(address, "/info")));
    expect(most).toBeLessThanOrEqual(16);
  });

  test("is made again over TLS if the broker asks for that, with the certificates of the flags", async () => {
    const secure = serve((request) => Response.json({ path: new URL(request.url).pathname }), {
      cert: readFileSync(certificate("server.pem"), "utf8"),
      key: readFileSync(certificate("server.key"), "utf8"),
      ca: readFileSync(certificate("ca.pem"), "utf8"),
      requestCert: true,
      rejectUnauthorized: true,
    });
    const port = Number(secure.split(":")[1]);
    const plain = serve(() => Response.json({ message: "TLS_REQUIRED", https_port: port }, { status: 403 }));
    const own = { httpClientTlsCert: certificate("client.pem"), httpClientTlsKey: certificate("client.key") };
    const knowing = new Upstream({ ...OPTIONS, ...own, httpClientTlsRootCaFile: certificate("ca.pem") });
    expect(await knowing.getJson(plain, "/stats")).toEqual({ path: "/stats" });
    const trusting = new Upstream({ ...OPTIONS, ...own, httpClientTlsInsecureSkipVerify: true });
    expect(await trusting.getJson(plain, "/stats")).toEqual({ path: "/stats" });
    // Without the authority the server is not trusted, and without a certificate the server does not answer.
    await failureOf(new Upstream({ ...OPTIONS, ...own }).getJson(plain, "/stats"));
    await failureOf(new Upstream({ ...OPTIONS, httpClientTlsRootCaFile: certificate("ca.pem") }).getJson(plain, "/stats"));
    const other = serve(() => Response.json({ message: "HOST_NOT_ALLOWED" }, { status: 403 }));
    expect((await failureOf(upstream.getJson(other, "/stats"))).status).toBe(403);
  });

  test("is not made at all with files that are missing or belong to nothing", () => {
    const start = (changes: Partial<UpstreamOptions>) => () => new Upstream({ ...OPTIONS, ...changes }, "admin-");
    expect(start({ httpClientTlsCert: "x" })).toThrow("--admin-http-client-tls-key must be specified with --admin-http-client-tls-cert");
    expect(start({ httpClientTlsKey: "x" })).toThrow("--admin-http-client-tls-cert must be specified with --admin-http-client-tls-key");
    expect(start({ httpClientTlsRootCaFile: "/missing" })).toThrow("failed to read --admin-http-client-tls-root-ca-file /missing");
    expect(start({ httpClientTlsRootCaFile: certificate("make.sh") })).toThrow("has no certificate");
  });
});

test("what waits for a slot gets one in its turn, and no more may wait than is said", async () => {
  const slots = new Slots(1, 2);
  const order: string[] = [];
  const take = (name: string) => slots.take().then((taken) => order.push(`${name} ${taken}`));
  await take("a");
  const waiting = [take("b"), take("c")];
  await take("d");
  slots.free();
  await waiting[0];
  slots.free();
  await waiting[1];
  expect(order).toEqual(["a true", "d false", "b true", "c true"]);
});

test("a defect is not taken for a server that is down", async () => {
  await expect(gather("nsqd", ["a"], () => Promise.reject(new TypeError("defect")))).rejects.toThrow(TypeError);
  await expect(gather("nsqd", [], () => Promise.resolve())).rejects.toThrow(AllFailed);
});

describe("discovery", () => {
  const upstream = new Upstream(OPTIONS);
  const node = (port: number, version: string, topics: string[], tombstones: boolean[]) => ({
    remote_address: `10.0.0.1:${port}`,
    hostname: "h",
    broadcast_address: "::1",
    tcp_port: port,
    http_port: port + 1,
    version,
    topics,
    tombstones,
  });

  test("merges what lookup servers say, and goes on without those that are down", async () => {
    const first = serve(() => Response.json({ producers: [node(1, "1.2.0", ["b", "a"], [true, false]), node(3, "1.3.0", [], [])] }));
    const second = serve(() => Response.json({ producers: [node(1, "1.2.0", ["a"], [false])] }));
    const discovery = new Discovery(upstream, { lookupdHttpAddresses: [first, second, "127.0.0.1:1"], nsqdHttpAddresses: [] });
    const { value, failures } = await discovery.producers();
    expect(failures.map(({ server }) => server)).toEqual(["127.0.0.1:1"]);
    expect(value.map(({ tcpPort, outOfDate, topics, remoteAddresses }) => ({ tcpPort, outOfDate, topics, remoteAddresses }))).toEqual([
      {
        tcpPort: 1,
        outOfDate: true,
        topics: [
          { topic: "a", tombstoned: false },
          { topic: "b", tombstoned: true },
        ],
        remoteAddresses: [`${first}/10.0.0.1:1`, `${second}/10.0.0.1:1`],
      },
      { tcpPort: 3, outOfDate: false, topics: [], remoteAddresses: [`${first}/10.0.0.1:3`] },
    ]);
  });

  test("takes it as no failure of a lookup server that it does not know a topic", async () => {
    const knowing = serve(() => Response.json({ channels: [], producers: [node(1, "1.3.0", [], [])] }));
    const other = serve(() => Response.json({ message: "TOPIC_NOT_FOUND" }, { status: 404 }));
    const over = (...lookups: string[]) => new Discovery(upstream, { lookupdHttpAddresses: lookups, nsqdHttpAddresses: [] });
    expect(await over(other, knowing).producersOf("t")).toMatchObject({ value: [{ tcpPort: 1 }], failures: [], isKnown: true });
    expect(await over(other).producersOf("t")).toEqual({ value: [], failures: [], isKnown: false });
  });

  test("takes answers of any shape", async () => {
    for (const answer of [
      null,
      1,
      "x",
      [],
      { producers: 5, topics: {} },
      { producers: [null, 1, { topics: [1], tcp_port: "x" }], topics: [1, "t"] },
    ]) {
      const lookup = serve(() => Response.json(answer));
      const over = new Discovery(upstream, { lookupdHttpAddresses: [lookup], nsqdHttpAddresses: [] });
      await over.producers();
      await over.producersOf("t");
      expect((await over.topics()).value.every((topic) => topic === "t")).toBe(true);
      await new Discovery(upstream, { lookupdHttpAddresses: [], nsqdHttpAddresses: [lookup] }).producers();
    }
  });
});
