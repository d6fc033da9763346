import { expect, test } from "bun:test";
import { connect } from "node:net";
import type { CloseReason, ConnectionEvents } from "../../../src/cluster/net/network.ts";
import { type NetworkTls, SocketNetwork } from "../../../src/cluster/net/socket-network.ts";
import { deadAddress } from "../../support/auth-server.ts";
import { clientTls } from "../../support/certs/certs.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { playNetworkSuite } from "./network-suite.ts";

function pems(holder: "node" | "foreign" | "expired"): NetworkTls {
  const { ca, cert = "", key = "" } = clientTls(holder);
  return { ca, cert, key };
}

async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await Bun.sleep(5);
}

for (const [name, tls] of [
  ["real sockets", undefined],
  ["real sockets with mutual TLS", pems("node")],
] as const) {
  playNetworkSuite(name, async () => {
    const network = new SocketNetwork("replication-address", new MemoryLogger(), tls);
    return {
      far: network,
      near: network,
      address: "127.0.0.1:0",
      deadAddress: deadAddress(),
      manyBytes: 64 << 20,
      until,
      idle: turns,
      [Symbol.asyncDispose]: async () => {},
    };
  });
}

const silent: ConnectionEvents = { onOpen() {}, onData() {}, onDrain() {}, onClosed() {} };

/** Connects, and waits until bytes come or the connection is closed. */
async function attempt(network: SocketNetwork, address: string): Promise<string> {
  return await new Promise((resolve) => {
    network.connect(address, {
      ...silent,
      // A certificate that the listener refuses shows only afterwards.
      onData: () => resolve("open"),
      onClosed: (reason: CloseReason) => resolve(reason),
    });
  });
}

test("an address that is none fails as one that nobody has", async () => {
  const network = new SocketNetwork("replication-address", new MemoryLogger());
  for (const address of ["", "nonsense", "a:b:c", "host:70000", "[]:1", "no such host:1"])
    expect([address, ["failed", "refused"].includes(await attempt(network, address))]).toEqual([address, true]);
});

test("with TLS neither end talks to one whose certificate it does not trust, or to one without", async () => {
  const logger = new MemoryLogger();
  const listening = (tls: NetworkTls | undefined) =>
    new SocketNetwork("replication-address", logger, tls).listen("127.0.0.1:0", (connection) => {
      accepted++;
      connection.write(Buffer.from("hello"), 0, 5);
      return silent;
    });
  let accepted = 0;
  const listener = listening(pems("node"));
  const as = (tls: NetworkTls | undefined) => new SocketNetwork("replication-address", logger, tls);
  expect(await attempt(as(pems("node")), listener.address)).toBe("open");
  expect(accepted).toBe(1);
  for (const tls of [pems("foreign"), pems("expired")])
    expect(["failed", "reset", "closed"]).toContain(await attempt(as(tls), listener.address));
  expect(accepted).toBe(1);
  // The certificate is for 127.0.0.1 and localhost.
  const elsewhere = as(pems("node")).listen("127.0.0.2:0", () => silent);
  expect(await attempt(as(pems("node")), elsewhere.address)).toBe("failed");
  elsewhere.close();
  const foreign = listening(pems("foreign"));
  expect(["failed", "reset", "closed"]).toContain(await attempt(as(pems("node")), foreign.address));
  // A plain end sends what is no TLS.
  const plain = as(undefined).connect(listener.address, {
    ...silent,
    onOpen: () => plain.write(Buffer.from("hello"), 0, 5),
    onClosed: () => {
      isClosed = true;
    },
  });
  let isClosed = false;
  await until("the plain end is cut", () => isClosed);
  expect(accepted).toBe(1);
  listener.close();
  foreign.close();
});

test("with TLS, of many connections that say nothing the oldest are cut", async () => {
  const network = new SocketNetwork("replication-address", new MemoryLogger(), pems("node"));
  const listener = network.listen("127.0.0.1:0", (connection) => {
    connection.write(Buffer.from("hello"), 0, 5);
    return silent;
  });
  let closed = 0;
  const port = Number(listener.address.split(":").at(-1));
  const sockets = Array.from({ length: 400 }, () =>
    connect(port, "127.0.0.1")
      .on("error", () => {})
      .on("close", () => closed++),
  );
  await until("some to be cut", () => closed >= 400 - 256);
  expect(await attempt(network, listener.address)).toBe("open");
  for (const socket of sockets) socket.destroy();
  listener.close();
});

test("a name that is not known fails, and an address that is taken is a StartError", async () => {
  const network = new SocketNetwork("replication-address", new MemoryLogger());
  expect(await attempt(network, "nobody.invalid:1")).toBe("failed");
  const listener = network.listen("127.0.0.1:0", () => silent);
  expect(() => network.listen(listener.address, () => silent)).toThrow("choose another -replication-address");
  listener.close();
});

test("a defect of an owner ends its connection only, and is logged", async () => {
  const logger = new MemoryLogger();
  const network = new SocketNetwork("replication-address", logger);
  const closed: string[] = [];
  const listener = network.listen("127.0.0.1:0", () => ({
    ...silent,
    onData() {
      throw new Error("oh");
    },
    onClosed: (reason) => void closed.push(reason),
  }));
  const near = network.connect(listener.address, {
    ...silent,
    onOpen: () => near.write(Buffer.from("x"), 0, 1),
    onClosed: (reason) => void closed.push(`near ${reason}`),
  });
  await until("both ends are closed", () => closed.length === 2);
  expect(closed).toContain("failed");
  expect(logger.lines.filter((line) => line.includes("defect")).length).toBe(1);
  listener.close();
});
