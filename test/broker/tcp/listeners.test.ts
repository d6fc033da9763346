import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { startHttp, startHttps } from "../../../src/broker/http/server.ts";
import { parseListenAddress } from "../../../src/net/address.ts";
import { isSocketPath, removeDeadSocket } from "../../../src/net/unix-socket.ts";
import { certificate } from "../../support/certs/certs.ts";
import { InProcess, MemoryLogger } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { findNsqd, MAIN, type Program, type Running, startProcess, until } from "../../support/server.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bunsq-sockets-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let sockets = 0;
const socketPath = () => join(folder, `${++sockets}.sock`);

/** A program with unix sockets for TCP and HTTP, once it listens or has ended. */
async function startOnSockets(program: Program, tcp: string, http: string, ...args: string[]): Promise<Running> {
  const command = program === "nsqd" ? [findNsqd() ?? "nsqd"] : [process.execPath, MAIN, "--mode=broker"];
  const running = await startProcess(
    program,
    [...command, `--tcp-address=${tcp}`, `--http-address=${http}`, `--data-path=${mkdtempSync(join(folder, "data-"))}`, ...args],
    [],
  );
  await until("it listens or ends", () => /HTTP: listening/.test(running.log()) || running.process.exitCode !== null, 20_000);
  return running;
}

const over = (path: string, target: string, init: RequestInit = {}) => fetch(`http://localhost${target}`, { ...init, unix: path });

describe("an address", () => {
  test("without a port is the path of a unix socket, unless it looks like a host", () => {
    for (const path of ["/run/nsqd.sock", "./nsqd.sock", "nsqd.sock", "@nsqd", "/odd:4150"]) expect(isSocketPath(path)).toBeTrue();
    for (const other of ["127.0.0.1:4150", ":4150", "[::1]:4150", "host:http", "127.0.0.1", "::1", "4150", "localhost", ""]) {
      expect(isSocketPath(other)).toBeFalse();
    }
    expect(() => parseListenAddress("127.0.0.1")).toThrow("give it as host:port");
    expect(() => parseListenAddress(`/${"x".repeat(107)}`)).toThrow("may have at most 107 bytes");
  });
});

describe("a broker on unix sockets", () => {
  for (const program of ["bunsq", "nsqd"] as const) {
    testUnless(program === "nsqd" ? missing("nsqd") : undefined)(
      `serves TCP and HTTP there, and removes the files at its end (${program})`,
      async () => {
        const [tcp, http] = [socketPath(), socketPath()];
        const running = await startOnSockets(program, tcp, http);
        expect(running.log()).toContain(`TCP: listening on ${tcp}\n`);
        expect(running.log()).toContain(`HTTP: listening on ${http}\n`);
        for (const path of [tcp, http]) expect(statSync(path).mode & 0o777).toBe(0o777 & ~process.umask());

        const client = await RawClient.connect(tcp);
        expect(await client.call("PUB t", "x")).toBe("OK");
        expect(await (await over(http, "/pub?topic=t", { method: "POST", body: "y" })).text()).toBe("OK");
        expect(await (await over(http, "/info")).json()).toMatchObject({ tcp_port: -1, http_port: -1 });
        expect(await (await over(http, "/config/tcp_address")).text()).toBe(tcp);
        expect(await (await over(http, "/config/broadcast_tcp_port")).text()).toBe("0");
        const stats = (await (await over(http, "/stats?format=json")).json()) as { producers: object[] };
        expect(stats.producers).toMatchObject([{ client_id: "", hostname: "", remote_address: "@" }]);
        expect(running.log()).toContain("TCP: new client(@)");
        expect(running.log()).toContain("200 GET /info (@)");

        expect(await running.stop()).toBe(0);
        expect([tcp, http].filter((path) => existsSync(path))).toEqual([]);
      },
      30_000,
    );

    testUnless(program === "nsqd" ? missing("nsqd") : undefined)(
      `does not replace a socket on which another broker listens (${program})`,
      async () => {
        const [tcp, http] = [socketPath(), socketPath()];
        const first = await startOnSockets("bunsq", tcp, http);
        const second = await startOnSockets(program, tcp, socketPath());
        expect(await second.process.exited).toBe(1);
        expect(second.log()).toContain(program === "nsqd" ? "address already in use" : `cannot listen on ${tcp}: another program uses it`);
        const client = await RawClient.connect(tcp);
        expect(await client.call("PUB t", "x")).toBe("OK");
        client.close();
        expect(await first.stop()).toBe(0);
      },
      30_000,
    );
  }

  test("delivers 100,000 messages unchanged", async () => {
    const path = socketPath();
    await using _brokers = InProcess.start({ tcpAddress: path });
    const [count, each] = [100_000, 500];
    const sent = new Bun.CryptoHasher("sha256");
    const received = new Bun.CryptoHasher("sha256");
    const consumer = await RawClient.connect(path);
    await consumer.call("SUB t ch");
    let left = count;
    let fins: string[] = [];
    consumer.onFrame = ({ data, id }) => {
      received.update(data);
      fins.push(`FIN ${id}\n`);
      if (--left % 100 > 0) return;
      consumer.write(fins.join(""));
      fins = [];
    };
    consumer.command("RDY 2500");
    const producer = await RawClient.connect(path);
    for (let from = 0; from < count; from += each) {
      const bodies = Array.from({ length: each }, (_, i) => `${from + i} ${Bun.hash(`${from + i}`).toString(36)}`);
      for (const body of bodies) sent.update(body);
      producer.mpub("t", bodies);
      expect(await producer.response()).toBe("OK");
    }
    await until("all have come", () => left === 0, 30_000);
    expect(received.digest("hex")).toBe(sent.digest("hex"));
    producer.close();
    consumer.close();
  }, 60_000);

  test("replaces the sockets of a broker that was killed", async () => {
    const [tcp, http] = [socketPath(), socketPath()];
    const killed = await startOnSockets("bunsq", tcp, http);
    await killed.stop("SIGKILL");
    expect(existsSync(tcp)).toBeTrue();
    const next = await startOnSockets("bunsq", tcp, http);
    expect(next.log()).toContain(`removed ${tcp}: no process listens on this socket any more`);
    const client = await RawClient.connect(tcp);
    expect(await client.call("PUB t", "x")).toBe("OK");
    client.close();
    expect(await next.stop()).toBe(0);
  }, 30_000);

  test("does not start on a file of another kind, or in a folder that does not exist", async () => {
    const file = socketPath();
    writeFileSync(file, "precious");
    const log = new MemoryLogger();
    await removeDeadSocket({ unix: file }, log);
    expect(statSync(file).size).toBe(8);
    expect(() => InProcess.start({ tcpAddress: file })).toThrow(`cannot listen on ${file}: another program uses it, or it is not a socket`);
    const nowhere = join(folder, "no", "such.sock");
    expect(() => InProcess.start({ tcpAddress: nowhere })).toThrow("its directory does not exist");
  });

  test("can use an abstract name", async () => {
    const name = `@bunsq-${process.pid}-${++sockets}`;
    await using brokers = InProcess.start({ tcpAddress: name });
    expect(brokers.log.lines).toContain(`INFO: TCP: listening on ${name}`);
    const client = await RawClient.connect(`\0${name.slice(1)}`);
    expect(await client.call("PUB t", "x")).toBe("OK");
    client.close();
  });
});

describe("a broker with a certificate", () => {
  const TLS = { tlsCert: certificate("server.pem"), tlsKey: certificate("server.key"), httpsAddress: "127.0.0.1:0" };
  const trusting = { tls: { ca: Bun.file(certificate("ca.pem")) } };

  test("serves the HTTP API over HTTPS, and tells its port under -tls-required", async () => {
    await using brokers = InProcess.start({ ...TLS, tlsRequired: "true", httpAddress: "127.0.0.1:0" });
    const { broker } = brokers;
    const https = startHttps(broker, broker.tls!);
    const http = startHttp(broker);
    const refused = await fetch(`http://127.0.0.1:${http.port}/pub?topic=t`, { method: "POST", body: "x" });
    expect(refused.status).toBe(403);
    expect(await refused.json()).toEqual({ message: "TLS_REQUIRED", https_port: https.port });
    const url = `https://127.0.0.1:${https.port}`;
    expect(await (await fetch(`${url}/pub?topic=t`, { method: "POST", body: "x", ...trusting })).text()).toBe("OK");
    expect(await (await fetch(`${url}/info`, trusting)).json()).toMatchObject({ http_port: http.port, tcp_port: broker.tcpPort });
    expect(broker.registry.topics.get("t")?.messageCount).toBe(1);
    expect(brokers.log.matching(/^INFO: HTTPS: listening on 127\.0\.0\.1:\d+$/)).toHaveLength(1);
    expect(brokers.log.matching(/^INFO: 200 GET \/info \(127\.0\.0\.1:\d+\)/)).toHaveLength(1);
    await https.stop();
    await http.stop();
  });

  test("accepts no version of TLS below --tls-min-version over HTTPS", async () => {
    await using brokers = InProcess.start({ ...TLS, tlsMinVersion: "tls1.3" });
    const https = startHttps(brokers.broker, brokers.broker.tls!);
    const handshake = (maxVersion: "TLSv1.2" | "TLSv1.3") =>
      new Promise<string>((resolve) => {
        const ca = readFileSync(certificate("ca.pem"), "utf8");
        const socket = connectTls({ host: "127.0.0.1", port: https.port, ca, maxVersion });
        socket.on("secureConnect", () => {
          resolve(socket.getProtocol() ?? "");
          socket.destroy();
        });
        socket.on("error", () => resolve("refused"));
      });
    expect(await handshake("TLSv1.3")).toBe("TLSv1.3");
    expect(await handshake("TLSv1.2")).toBe("refused");
    await https.stop();
  });

  test.each(["require-verify", "require"])("asks for a client's certificate under %s", async (tlsClientAuthPolicy) => {
    await using brokers = InProcess.start({ ...TLS, tlsClientAuthPolicy, tlsRootCaFile: certificate("ca.pem") });
    const https = startHttps(brokers.broker, brokers.broker.tls!);
    const ping = (holder?: string) => {
      const shown =
        holder === undefined ? {} : { cert: Bun.file(certificate(`${holder}.pem`)), key: Bun.file(certificate(`${holder}.key`)) };
      return fetch(`https://127.0.0.1:${https.port}/ping`, { tls: { ...trusting.tls, ...shown } }).then(
        (response) => response.text(),
        () => "refused",
      );
    };
    expect(await ping("client")).toBe("OK");
    for (const holder of [undefined, "foreign", "expired"]) expect(await ping(holder)).toBe("refused");
    expect(await ping("client")).toBe("OK");
    await https.stop();
  });
});

describe("a broker on IPv6", () => {
  test("serves TCP and HTTP, and shows clients' addresses in brackets", async () => {
    await using brokers = InProcess.start({ tcpAddress: "[::1]:0", httpAddress: "[::1]:0" });
    const http = startHttp(brokers.broker);
    const client = await RawClient.connect(brokers.broker.tcpPort, { hostname: "::1" });
    expect(await client.call("PUB t", "x")).toBe("OK");
    const stats = (await (await fetch(`http://[::1]:${http.port}/stats?format=json`)).json()) as { producers: object[] };
    expect(stats.producers).toMatchObject([{ client_id: "::1", remote_address: expect.stringMatching(/^\[::1\]:\d+$/) }]);
    client.close();
    await http.stop();
  });
});

describe("a broker without HTTP", () => {
  test("has an empty HTTP address, and serves TCP", async () => {
    const running = await startProcess(
      "bunsq",
      [
        process.execPath,
        MAIN,
        "--mode=broker",
        "--tcp-address=127.0.0.1:0",
        "--http-address=",
        `--data-path=${mkdtempSync(join(folder, "data-"))}`,
      ],
      ["TCP"],
    );
    const client = await RawClient.connect(running.tcpPort);
    expect(await client.call("PUB t", "x")).toBe("OK");
    expect(running.log()).not.toContain("HTTP: listening");
    client.close();
    expect(await running.stop()).toBe(0);
  }, 30_000);
});
