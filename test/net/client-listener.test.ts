import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StartError } from "../../src/base/start-error.ts";
import { type ListenAddress, parseListenAddress } from "../../src/net/address.ts";
import { type ClientConnection, ClientListener } from "../../src/net/client-listener.ts";
import { until } from "../support/server.ts";

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

/** Notes its events, echoes its bytes, and throws at the bytes "throw" and at the end of a client that sent "end". */
class NotedConnection implements ClientConnection {
  readonly events: string[] = [];

  constructor(
    private readonly socket: Bun.Socket<NotedConnection | undefined>,
    readonly remoteAddress: string,
  ) {}

  receive(data: Buffer): void {
    this.events.push(data.toString());
    if (data.includes("throw")) throw new Error("a defect");
    this.socket.write(data);
  }
  onDrain(): void {
    this.events.push("drain");
  }
  onInputEnd(): void {
    this.events.push("input end");
    if (this.events.includes("end")) throw "not even an Error";
    this.socket.end();
  }
  onSocketClosed(): void {
    this.events.push("closed");
  }
  abort(): void {
    this.events.push("abort");
    this.socket.terminate();
  }
}

class Bed {
  readonly accepted: NotedConnection[] = [];
  readonly defects: string[] = [];
  readonly closed: NotedConnection[] = [];
  turnAway = false;
  readonly listener: ClientListener<NotedConnection>;

  constructor(address: ListenAddress = LOOPBACK) {
    this.listener = ClientListener.listen<NotedConnection>(address, "tcp-address", {
      accept: (socket, remoteAddress) => {
        if (this.turnAway) {
          socket.end("go away");
          return undefined;
        }
        const connection = new NotedConnection(socket, remoteAddress);
        this.accepted.push(connection);
        return connection;
      },
      onDefect: (error, connection) => this.defects.push(`${connection?.remoteAddress ?? "nobody"}: ${error.message}`),
      onClosed: (connection) => this.closed.push(connection),
    });
  }
}

class TestClient {
  received = "";
  closed = false;
  socket!: Bun.Socket<undefined>;

  /** @param target a port, or the path of a unix socket */
  static async connect(target: number | string): Promise<TestClient> {
    const client = new TestClient();
    client.socket = await Bun.connect<undefined>({
      ...((typeof target === "string" ? { unix: target } : { hostname: "127.0.0.1", port: target }) as { hostname: string; port: number }),
      socket: {
        data: (_socket, data) => {
          client.received += data.toString();
        },
        close: () => {
          client.closed = true;
        },
        error: () => {},
      },
    });
    return client;
  }
}

let bed: Bed | undefined;
afterEach(() => {
  bed?.listener.stop(true);
  bed = undefined;
});

test("a client's bytes and its end go to its connection", async () => {
  bed = new Bed();
  const client = await TestClient.connect(bed.listener.port);
  client.socket.write("hello");
  await until("the echo comes", () => client.received === "hello");
  expect(bed.listener.connections.size).toBe(1);
  client.socket.end();
  await until("it is closed", () => bed?.closed.length === 1);
  expect(bed.accepted[0].events).toEqual(["hello", "input end", "closed"]);
  expect(bed.accepted[0].remoteAddress).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(bed.listener.connections.size).toBe(0);
  expect(bed.defects).toEqual([]);
});

test("a defect in one connection cuts that one, and the others go on", async () => {
  bed = new Bed();
  const bad = await TestClient.connect(bed.listener.port);
  const good = await TestClient.connect(bed.listener.port);
  bad.socket.write("throw");
  await until("it is cut", () => bad.closed);
  good.socket.write("still there");
  await until("the echo comes", () => good.received === "still there");
  expect(bed.defects).toEqual([`${bed.accepted[0].remoteAddress}: a defect`]);
  await until("its connection is told", () => bed?.closed.length === 1);
  expect(bed.accepted[0].events).toEqual(["throw", "abort", "closed"]);
});

test("a thrown value that is no Error is a defect too", async () => {
  bed = new Bed();
  const client = await TestClient.connect(bed.listener.port);
  client.socket.write("end");
  await until("the echo comes", () => client.received === "end");
  client.socket.end();
  await until("it is closed", () => bed?.closed.length === 1);
  expect(bed.defects).toEqual([`${bed.accepted[0].remoteAddress}: not even an Error`]);
});

test("a call outside of the socket's events is guarded too", async () => {
  bed = new Bed();
  const client = await TestClient.connect(bed.listener.port);
  await until("it is accepted", () => bed?.accepted.length === 1);
  const [connection] = bed.accepted;
  bed.listener.guard(connection, (each) => each.onDrain());
  expect(connection.events).toEqual(["drain"]);
  bed.listener.guard(connection, () => {
    throw new Error("in a tick");
  });
  await until("it is cut", () => client.closed);
  expect(bed.defects).toEqual([`${connection.remoteAddress}: in a tick`]);
});

test("a connection's onSocketClosed() is called once", async () => {
  bed = new Bed();
  await TestClient.connect(bed.listener.port);
  await until("it is accepted", () => bed?.accepted.length === 1);
  const [connection] = bed.accepted;
  bed.listener.onSocketClosed(connection);
  bed.listener.onSocketClosed(connection);
  connection.abort();
  await Bun.sleep(0);
  expect(connection.events.filter((event) => event === "closed")).toEqual(["closed"]);
});

test("a client that is turned away gets the bytes that accept() sends, and its own bytes are dropped", async () => {
  bed = new Bed();
  bed.turnAway = true;
  const client = await TestClient.connect(bed.listener.port);
  client.socket.write("throw");
  await until("it reads why", () => client.received === "go away");
  expect(bed.accepted).toEqual([]);
  expect(bed.defects).toEqual([]);
});

test("a defect in accept() cuts the client, and the next one is served", async () => {
  bed = new Bed();
  const { accepted } = bed;
  Object.defineProperty(accepted, "push", {
    configurable: true,
    value: () => {
      throw new Error("no room");
    },
  });
  const first = await TestClient.connect(bed.listener.port);
  await until("it is cut", () => first.closed);
  expect(bed.defects).toEqual(["nobody: no room"]);
  Reflect.deleteProperty(accepted, "push");
  const second = await TestClient.connect(bed.listener.port);
  second.socket.write("hello");
  await until("the echo comes", () => second.received === "hello");
});

test("an address that is in use is an error that names the flag", () => {
  bed = new Bed();
  const { port } = bed.listener;
  expect(bed.listener.where).toBe(`127.0.0.1:${port}`);
  const listen = () => new Bed({ hostname: "127.0.0.1", port });
  expect(listen).toThrow(StartError);
  expect(listen).toThrow("choose another -tcp-address");
});

test("a unix socket's client has the address @", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bunsq-listener-"));
  try {
    const path = join(folder, "socket");
    bed = new Bed(parseListenAddress(path));
    expect([bed.listener.port, bed.listener.where]).toEqual([0, path]);
    const client = await TestClient.connect(path);
    client.socket.write("hello");
    await until("the echo comes", () => client.received === "hello");
    expect(bed.accepted[0].remoteAddress).toBe("@");
  } finally {
    bed?.listener.stop(true);
    rmSync(folder, { recursive: true, force: true });
  }
});
