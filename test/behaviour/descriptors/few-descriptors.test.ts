import { afterEach, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { RawClient } from "../../support/raw-client.ts";
import { MAIN, type Server, startServer, until } from "../../support/server.ts";
import { requestBytes } from "../differential/support/http-wire.ts";

const LIMIT = 1024;
const TOPICS = 1500;
const IDLE_CLIENTS = 3000;
/** Sockets that are opened at a time. */
const AT_A_TIME = 100;

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

function start(dataPath: string, limit = LIMIT): Promise<Server> {
  const command = ["sh", "-c", `ulimit -n ${limit}; exec "$0" "$@"`, process.execPath, MAIN, "--mode=broker"];
  return startServer({ command, dataPath });
}

/** Connections that send some bytes, or none, and then nothing. Some of them may be closed by the server. */
async function openSilent(port: number, count: number, bytes: string | Buffer = ""): Promise<void> {
  for (let opened = 0; opened < count; opened += AT_A_TIME) {
    const connected = Array.from({ length: AT_A_TIME }, () => {
      const socket = connect(port, "127.0.0.1");
      sockets.push(socket);
      socket.on("error", () => {});
      return new Promise<void>((resolve) => {
        socket.once("connect", () => {
          if (bytes.length > 0) socket.write(bytes);
          resolve();
        });
        socket.once("close", () => resolve());
      });
    });
    await Promise.all(connected);
  }
}

const ping = async (server: Server) => (await server.http("GET", "/ping")).text();
const publish = async (server: Server, topic: string, body: string | Uint8Array<ArrayBuffer>) =>
  (await server.http("POST", `/pub?topic=${topic}`, body)).text();

/** What everybody else does: known topics and new ones, small messages and large ones, over HTTP and TCP. */
async function expectService(server: Server, round: string): Promise<void> {
  expect(await ping(server)).toBe("OK");
  expect((await server.http("GET", "/stats")).status).toBe(200);
  expect(await publish(server, "known", "small")).toBe("OK");
  expect(await publish(server, `new-${round}`, new Uint8Array(900_000))).toBe("OK");
  const client = await RawClient.connect(server.tcpPort);
  expect(await client.call(`PUB tcp-${round}`, "hello")).toBe("OK");
  await client.call(`SUB tcp-${round} c`);
  client.command("RDY 1");
  const { id, text } = await client.message();
  expect(text).toBe("hello");
  client.command(`FIN ${id}`);
  client.close();
}

test("many more topics than descriptors are published to in turn, restarted with a backlog in each, and drained", async () => {
  const dataPath = temporaryFolder();
  try {
    let server = await start(dataPath);
    const client = await RawClient.connect(server.tcpPort);
    for (let i = 0; i < TOPICS; i++) expect(await client.call(`PUB topic-${i}`, `hello ${i}`)).toBe("OK");
    expect(await ping(server)).toBe("OK");
    for (const end of ["SIGTERM", "SIGKILL"] as const) {
      await server.stop(end);
      server = await start(dataPath);
      const { topics } = (await (await server.http("GET", "/stats?format=json")).json()) as { topics: { depth: number }[] };
      expect(topics.map(({ depth }) => depth)).toEqual(Array.from({ length: TOPICS }, () => 1));
    }
    for (let i = 0; i < TOPICS; i += 3) {
      const consumer = await RawClient.connect(server.tcpPort);
      await consumer.call(`SUB topic-${i} c`);
      consumer.command("RDY 1");
      const { id, text } = await consumer.message();
      expect(text).toBe(`hello ${i}`);
      consumer.command(`FIN ${id}`);
      consumer.close();
    }
    expect(await ping(server)).toBe("OK");
    expect(server.log()).not.toContain("EMFILE");
    expect(await server.stop()).toBe(0);
  } finally {
    removeFolder(dataPath);
  }
}, 60_000);

for (const [what, bytes] of [
  ["say nothing", ""],
  ["have sent a part of a request", requestBytes("POST", "/pub?topic=half", "half a publish").subarray(0, -4)],
  // Not for the fast path.
  ["have sent a part of another request", "GET /stats HTTP/1.1\r\nHost:"],
  ["have sent a part of a body in chunks", "POST /pub?topic=half HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha"],
] as const) {
  test(`clients of HTTP that ${what} keep nobody from being served, and deferred messages fall due`, async () => {
    const dataPath = temporaryFolder();
    try {
      let server = await start(dataPath);
      const client = await RawClient.connect(server.tcpPort);
      for (let i = 0; i < 20; i++) expect(await client.call("DPUB deferred 4000", `${i}`)).toBe("OK");
      await server.stop();
      server = await start(dataPath);
      const consumer = await RawClient.connect(server.tcpPort);
      await consumer.call("SUB deferred c");
      consumer.command("RDY 100");
      await openSilent(server.httpPort, IDLE_CLIENTS, bytes);
      if (bytes === "") await openSilent(server.tcpPort, IDLE_CLIENTS);
      // For a tenth of a second after such a burst a new client may be refused.
      await until("a new client is served", async () => (await ping(server).catch(() => "")) === "OK");
      await expectService(server, "first");
      const due = new Set<string>();
      while (due.size < 20) {
        const { id, text } = await consumer.message(10_000);
        due.add(text);
        consumer.command(`FIN ${id}`);
      }
      await expectService(server, "second");
      expect(server.log()).not.toContain("EMFILE");
      expect(await server.stop()).toBe(0);
    } finally {
      removeFolder(dataPath);
    }
  }, 60_000);
}

test("a TCP client for whom no descriptor is left is told so", async () => {
  const dataPath = temporaryFolder();
  try {
    await using server = await start(dataPath, 128);
    const clients: RawClient[] = [];
    // Each has said what it speaks, so none is closed for another one.
    await until("one is refused", async () => {
      const client = await RawClient.connect(server.tcpPort);
      clients.push(client);
      client.command("NOP");
      return client.frames.some(({ text }) => text.startsWith("E_TOO_MANY_CONNECTIONS")) || clients.some(({ frames }) => frames.length > 0);
    });
    const refused = clients.find(({ frames }) => frames.length > 0);
    expect((await refused?.next())?.text).toBe("E_TOO_MANY_CONNECTIONS no file descriptor is left for more clients");
    expect(await publish(server, "still-served", "m")).toBe("OK");
    expect(server.log()).toContain("TCP: refusing clients: this process may have 128 open files, see ulimit -n");
    const { connections } = (await (await server.http("GET", "/stats?format=json")).json()) as { connections: { refused: number } };
    expect(connections.refused).toBeGreaterThan(0);
    for (const client of clients) client.close();
  } finally {
    removeFolder(dataPath);
  }
}, 30_000);

test("connections to the lookup server that are silent keep neither it nor the broker beside it from serving", async () => {
  const dataPath = temporaryFolder();
  const command = ["sh", "-c", `ulimit -n ${LIMIT}; exec "$0" "$@"`, process.execPath, MAIN, "--mode=all"];
  const args = ["--lookup-tcp-address=127.0.0.1:0", "--lookup-http-address=127.0.0.1:0", "--admin-http-address=127.0.0.1:0"];
  try {
    await using both = await startServer({ command, dataPath, args });
    await until("both are up", () => both.log().includes("broker up:"));
    const port = (pattern: RegExp) => Number(pattern.exec(both.log())?.[1]);
    const [lookupTcp, lookupHttp] = [port(/lookup up: TCP \S*:(\d+),/), port(/lookup up: .* HTTP \S*:(\d+)/)];
    const httpPort = port(/broker up: .* HTTP \S*:(\d+)/);
    const http = (method: string, path: string, body?: string | Uint8Array<ArrayBuffer>) =>
      fetch(`http://127.0.0.1:${httpPort}${path}`, { method, body });
    const server = { ...both, tcpPort: port(/broker up: TCP \S*:(\d+),/), httpPort, http };
    expect(await publish(server, "known", "first")).toBe("OK");
    for (const [name, silent] of [["TCP", lookupTcp] as const, ["HTTP", lookupHttp] as const, ["half HTTP", lookupHttp] as const]) {
      await openSilent(silent, IDLE_CLIENTS, name === "half HTTP" ? "GET /lookup?topic=known HTTP/1.1\r\nHost:" : "");
      await until("a new client is served", async () => (await ping(server).catch(() => "")) === "OK");
      await expectService(server, name.replace(" ", "-"));
      const lookUp = () => fetch(`http://127.0.0.1:${lookupHttp}/lookup?topic=known`);
      // A request that has just begun is given 100 ms to be completed before its connection is closed for another one.
      await until("a new client of the lookup server is served", async () => (await lookUp().catch(() => undefined))?.status === 200);
      const found = await (await lookUp()).json();
      expect(found).toMatchObject({ producers: [{ tcp_port: server.tcpPort }] });
    }
    // A broker that has registered is never closed for others.
    expect(both.log()).not.toContain("UNREGISTER all");
    expect(both.log()).not.toContain("EMFILE");
  } finally {
    removeFolder(dataPath);
  }
}, 60_000);
