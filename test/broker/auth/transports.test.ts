import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AuthServer, deadAddress, granted } from "../../support/auth-server.ts";
import { certificate, clientTls } from "../../support/certs/certs.ts";
import { InProcess, messages } from "../../support/in-process.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";

const TLS = { tlsCert: certificate("server.pem"), tlsKey: certificate("server.key"), tlsRootCaFile: certificate("ca.pem") };
const SERVED_WITH = { cert: Bun.file(certificate("server.pem")), key: Bun.file(certificate("server.key")) };

describe("an auth server is told", () => {
  test("that a client speaks TLS, and the common name of its certificate", async () => {
    await using server = new AuthServer();
    await using brokers = InProcess.start({ ...TLS, authHttpAddresses: [server.address], tlsClientAuthPolicy: "require-verify" });
    const client = await brokers.client();
    await client.negotiate({ tls_v1: true }, clientTls("client"));
    await client.call("AUTH", "x");
    expect(server.questions).toMatchObject([{ fields: { tls: "true", common_name: "bunsq test client" } }]);
  });

  test("that a client speaks TLS without a certificate", async () => {
    await using server = new AuthServer();
    await using brokers = InProcess.start({ ...TLS, authHttpAddresses: [server.address] });
    const client = await brokers.client();
    await client.negotiate({ tls_v1: true }, clientTls());
    await client.call("AUTH", "x");
    expect(server.questions).toMatchObject([{ fields: { tls: "true", common_name: "" } }]);
  });

  test("no address of a client on a unix socket", async () => {
    const folder = mkdtempSync(join(tmpdir(), "bunsq-auth-"));
    const tcpAddress = join(folder, "tcp.sock");
    await using server = new AuthServer();
    await using brokers = InProcess.start({ tcpAddress, authHttpAddresses: [server.address] });
    const client = await RawClient.connect(tcpAddress);
    await client.call("AUTH", "x");
    expect(server.questions).toMatchObject([{ fields: { remote_ip: "" } }]);
    expect(await client.call("PUB t", "x")).toBe("OK");
    client.close();
    await until("the connection is closed", () => brokers.broker.listener.connections.size === 0);
    rmSync(folder, { recursive: true });
  });
});

describe("an auth server on HTTPS", () => {
  test("is asked if an authority of -tls-root-ca-file has signed its certificate, by GET and by POST", async () => {
    await using server = new AuthServer(() => granted(), SERVED_WITH);
    const url = `https://${server.address}/auth`;
    for (const authHttpRequestMethod of ["get", "post"] as const) {
      await using brokers = InProcess.start({ tlsRootCaFile: TLS.tlsRootCaFile, authHttpAddresses: [url], authHttpRequestMethod });
      const client = await brokers.client();
      expect(await client.call("AUTH", "x")).toContain("permission_count");
    }
    expect(server.questions.map(({ method }) => method)).toEqual(["GET", "POST"]);
  });

  test("is not asked if no known authority has signed its certificate", async () => {
    await using server = new AuthServer(() => granted(), SERVED_WITH);
    await using brokers = InProcess.start({ authHttpAddresses: [`https://${server.address}/auth`] });
    const client = await brokers.client();
    client.command("AUTH", "x");
    expect((await client.next()).text).toBe("E_AUTH_FAILED AUTH failed");
    expect(server.questions).toEqual([]);
  });

  test("is asked at the port that a plain one answers with 403", async () => {
    await using server = new AuthServer(() => granted(), SERVED_WITH);
    const port = Number(server.address.split(":")[1]);
    await using plain = new AuthServer(() => Response.json({ message: "TLS_REQUIRED", https_port: port }, { status: 403 }));
    await using brokers = InProcess.start({ tlsRootCaFile: TLS.tlsRootCaFile, authHttpAddresses: [plain.address] });
    const client = await brokers.client();
    expect(await client.call("AUTH", "hush")).toContain("permission_count");
    expect(server.questions).toMatchObject([{ fields: { secret: "hush" } }]);
  });

  test("that does not finish its handshake is no longer waited for after the timeout", async () => {
    const silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    await using brokers = InProcess.start({ authHttpAddresses: [`https://127.0.0.1:${silent.port}/`], httpClientConnectTimeoutMs: 200 });
    const client = await brokers.client();
    client.command("AUTH", "x");
    expect((await client.next()).text).toBe("E_AUTH_FAILED AUTH failed");
    expect(brokers.log.matching(/not connected within 200 ms/)).toHaveLength(1);
    silent.stop(true);
  });

  test("that is down is E_AUTH_FAILED for the client", async () => {
    await using brokers = InProcess.start({ authHttpAddresses: [`https://${deadAddress()}/`] });
    const client = await brokers.client();
    client.command("AUTH", "x");
    expect((await client.next()).text).toBe("E_AUTH_FAILED AUTH failed");
  });
});

describe.each([
  ["TLS", { tls_v1: true }],
  ["snappy", { snappy: true }],
  ["deflate", { deflate: true }],
  ["TLS and snappy", { tls_v1: true, snappy: true }],
] as [string, Record<string, unknown>][])("over %s", (_, identity) => {
  test("commands after AUTH wait for it in their order, also megabytes of them", async () => {
    const gate = Promise.withResolvers<void>();
    await using server = new AuthServer(() => gate.promise.then(() => granted()));
    await using brokers = InProcess.start({ ...TLS, authHttpAddresses: [server.address] });
    const client = await brokers.client();
    await client.negotiate(identity, clientTls());
    client.command("AUTH", "x");
    const bodies = Array.from({ length: 60 }, (__, i) => `${i} ${"payload ".repeat(10_000)}`);
    for (const body of bodies) client.command("PUB t", body);
    client.command("SUB t ch");
    await until("the server is asked", () => server.questions.length === 1);
    expect(brokers.broker.registry.topics.size).toBe(0);
    gate.resolve();
    expect(await client.response()).toContain("permission_count");
    for (let i = 0; i < 61; i++) expect(await client.response()).toBe("OK");
    client.command("RDY 100");
    const received = await messages(client, bodies.length);
    expect(received.map(({ text }) => text)).toEqual(bodies);
  });
});
