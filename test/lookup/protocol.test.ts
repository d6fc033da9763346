import { describe, expect, test } from "bun:test";
import { DescriptorBudget } from "../../src/base/descriptor-budget.ts";
import { StartError } from "../../src/base/start-error.ts";
import { type ClientSocket, Connection } from "../../src/lookup/connection.ts";
import { ready } from "../../src/lookup/http/queries.ts";
import { Inbox } from "../../src/lookup/inbox.ts";
import { Lookup } from "../../src/lookup/lookup.ts";
import { startLookup } from "../../src/lookup/start-lookup.ts";
import { trimSpace } from "../../src/lookup/text.ts";
import { MemoryLogger } from "../support/in-process.ts";
import { sized } from "../support/raw-client.ts";
import { until } from "../support/server.ts";
import { InProcessLookup, lookupOptions } from "./support/in-process.ts";
import { identityOf, type LookupClient } from "./support/lookup-client.ts";

/** Cases that test/behaviour/differential/lookup.test.ts cannot compare, because nsqlookupd has no limit or panics. */

/** A client's socket that accepts `roomBytes` bytes. */
class SlowSocket implements ClientSocket {
  received: Buffer = Buffer.alloc(0);
  roomBytes = 0;
  paused = false;
  ended = false;

  write(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, this.roomBytes);
    this.roomBytes -= taken.length;
    this.received = Buffer.concat([this.received, taken]);
    return taken.length;
  }
  end(): void {
    this.ended = true;
  }
  terminate(): void {}
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
}

/** All further answers, up to the end of the connection. */
async function lastWords(client: LookupClient): Promise<string[]> {
  const words: string[] = [];
  for (let answer = await client.next(); answer !== undefined; answer = await client.next()) words.push(answer.toString());
  expect(client.socket.ended).toBe(true);
  return words;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

describe("a broker's connection", () => {
  test("is refused a body of a negative or huge size before it is read, and the server keeps running", async () => {
    await using lookup = new InProcessLookup();
    for (const [size, why] of [
      [-1, "invalid body size -1"],
      [-(2 ** 31), "invalid body size -2147483648"],
      [64 * 1024 + 1, "body too big 65537 > 65536"],
      [2 ** 31 - 1, "body too big 2147483647 > 65536"],
    ] as const) {
      const client = await lookup.client();
      client.socket.write(Buffer.concat([Buffer.from("IDENTIFY\n"), int32(size)]));
      expect(await lastWords(client)).toEqual([`E_BAD_BODY IDENTIFY ${why}`]);
    }
    expect(await (await lookup.client()).call("PING")).toBe("OK");
  });

  test("may identify itself with 64 KiB", async () => {
    await using lookup = new InProcessLookup();
    const client = await lookup.client();
    const identity = JSON.stringify(identityOf("a"));
    expect(await client.call("IDENTIFY", identity.padEnd(64 * 1024))).toStartWith('{"broadcast_address":"test"');
  });

  test("ends at a line of 16 KiB, complete or in pieces, and the commands before it are answered", async () => {
    await using lookup = new InProcessLookup();
    for (const [length, end] of [
      [16 * 1024, "\n"],
      [16 * 1024, ""],
      [100_000, "\n"],
    ] as const) {
      const client = await lookup.client();
      client.socket.write(`PING\n${"x".repeat(length)}${end}`);
      expect(await lastWords(client)).toEqual(["OK"]);
    }
    const longest = "x".repeat(16 * 1024 - 1);
    expect(await (await lookup.client()).call(longest)).toBe(`E_INVALID invalid command ${longest}`);
  });

  test("that sends tens of thousands of commands at once does not block others", async () => {
    await using lookup = new InProcessLookup();
    lookup.log.level = "warn";
    const busy = await lookup.broker("busy");
    const patient = await lookup.broker("patient");
    const count = 20_000;
    busy.socket.write(Array.from({ length: count }, (_, i) => `REGISTER topic${i} ch\n`).join(""));
    let answered = 0;
    const done = (async () => {
      while (answered < count && (await busy.next()) !== undefined) answered++;
    })();
    let rounds = 0;
    while (answered < count) {
      expect(await patient.call("PING")).toBe("OK");
      rounds++;
    }
    await done;
    expect(rounds).toBeGreaterThan(10);
    expect(((await lookup.get("/topics")) as { topics: string[] }).topics).toHaveLength(count);
  });

  test("is not read while its client does not read, and continues when it does", async () => {
    const lookup = new Lookup(lookupOptions(), new MemoryLogger(), new DescriptorBudget(Number.POSITIVE_INFINITY));
    const socket = new SlowSocket();
    const connection = new Connection(lookup, socket, "10.0.0.1:4000");
    connection.receive(Buffer.from(`  V1${"PING\n".repeat(100)}`));
    connection.receive(Buffer.from("PING\n".repeat(10_000)));
    await Bun.sleep(0);
    expect(socket.received.length).toBe(0);
    expect(socket.paused).toBe(true);
    // These packets were on their way when reading stopped.
    connection.receive(Buffer.from("PI"));
    connection.receive(Buffer.from("NG\n"));
    socket.roomBytes = 100;
    connection.onDrain();
    expect(socket.received.length).toBe(100);
    expect(socket.paused).toBe(true);
    socket.roomBytes = 1_000_000;
    connection.onDrain();
    await until("all is answered", () => socket.received.length >= 6 * 10_101);
    expect(socket.paused).toBe(false);
    expect(socket.received.equals(Buffer.from("\0\0\0\x02OK".repeat(10_101)))).toBe(true);
    connection.onInputEnd();
    expect(socket.ended).toBe(true);
    connection.onSocketClosed();
  });

  test("is cut if the client does not close its side after an error", async () => {
    await using lookup = new InProcessLookup();
    const client = await lookup.client();
    const answer = await client.call("NOP");
    expect(answer).toBe("E_INVALID invalid command NOP");
    await client.socket.untilEnd();
    // It is half open until the server cuts it. Bytes that are sent then cause a reset.
    await until("the connection is gone", () => {
      client.socket.write("x");
      return client.socket.broken;
    });
  });

  test("that is reset before it is accepted leaves no trace", async () => {
    await using lookup = new InProcessLookup();
    const connectAndReset = `
      const net = require("node:net");
      let left = 200;
      const next = () => left-- > 0 && net.connect(${lookup.server.tcpPort}, "127.0.0.1", function () { this.resetAndDestroy(); next(); });
      next();`;
    // The server in this process accepts nothing while it waits for the child process.
    expect(Bun.spawnSync([process.execPath, "-e", connectAndReset]).exitCode).toBe(0);
    expect(await (await lookup.client()).call("PING")).toBe("OK");
    expect(lookup.log.matching(/^ERROR/)).toEqual([]);
    expect(lookup.log.matching(/new client\(undefined/)).toEqual([]);
  });

  test("is logged with its registrations, in nsqlookupd's words, and its end in one line", async () => {
    await using lookup = new InProcessLookup();
    const client = await lookup.broker("a");
    await client.call("REGISTER orders mail");
    await client.call("UNREGISTER orders mail");
    await client.call("REGISTER orders mail");
    await client.call("PING");
    const { address } = client;
    client.close();
    await until("it is gone", () => lookup.log.matching(/UNREGISTER all/).length === 1);
    const lines = lookup.log.lines.map((line) => line.replaceAll(address, "client").replace(/last ping .*\)/, "last ping TIME)"));
    expect(lines.filter((line) => !line.includes("listening"))).toEqual([
      "INFO: TCP: new client(client)",
      "INFO: CLIENT(client): desired protocol magic '  V1'",
      "INFO: CLIENT(client): IDENTIFY Address:a TCP:4150 HTTP:4151 Version:1.3.0",
      "INFO: DB: client(client) REGISTER category:client key: subkey:",
      "INFO: DB: client(client) REGISTER category:channel key:orders subkey:mail",
      "INFO: DB: client(client) REGISTER category:topic key:orders subkey:",
      "INFO: DB: client(client) UNREGISTER category:channel key:orders subkey:mail",
      "INFO: DB: client(client) REGISTER category:channel key:orders subkey:mail",
      "INFO: CLIENT(client): pinged (last ping TIME)",
      "INFO: DB: client(client) UNREGISTER all, 2 topics and channels",
    ]);
  });
});

describe("a lookup server", () => {
  test("names the flag of an address that it cannot listen on, and leaves nothing open", async () => {
    await using first = new InProcessLookup();
    const { tcpPort, httpPort } = first.server;
    const start = (changes: object, prefix?: string) => () => startLookup(lookupOptions(changes), new MemoryLogger(), prefix);
    expect(start({ tcpAddress: `127.0.0.1:${tcpPort}` })).toThrow(StartError);
    expect(start({ tcpAddress: `127.0.0.1:${tcpPort}` })).toThrow("choose another -tcp-address");
    expect(start({ httpAddress: `127.0.0.1:${httpPort}` }, "lookup-")).toThrow("choose another -lookup-http-address");
    expect(start({ httpAddress: "nonsense" })).toThrow('invalid address "nonsense"');
    // The TCP port was opened before the HTTP port failed. It must be free again.
    const free = new InProcessLookup();
    const port = free.server.tcpPort;
    await free.server.stop();
    expect(start({ tcpAddress: `127.0.0.1:${port}`, httpAddress: `127.0.0.1:${httpPort}` })).toThrow(StartError);
    const again = startLookup(lookupOptions({ tcpAddress: `127.0.0.1:${port}` }), new MemoryLogger());
    await again.stop();
  });

  test("closes the connections of its brokers when it stops", async () => {
    const lookup = new InProcessLookup();
    const client = await lookup.broker("a");
    await lookup.server.stop();
    await client.socket.untilEnd();
    expect(client.socket.ended).toBe(true);
  });

  test("shows all of a large registry in /nodes and /debug, and answers other requests meanwhile", async () => {
    await using lookup = new InProcessLookup();
    lookup.log.level = "warn";
    const topics = Array.from({ length: 1500 }, (_, i) => `topic-with-a-longer-name-${i}`);
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const broker = await lookup.broker(`broker${i}`);
        broker.socket.write(topics.map((topic) => `REGISTER ${topic} ch\n`).join(""));
        await broker.socket.until((bytes) => bytes.length > 6 * topics.length + 100);
      }),
    );
    const nodes = (await lookup.get("/nodes")) as { producers: { topics: string[]; tombstones: boolean[] }[] };
    expect(nodes.producers).toHaveLength(20);
    for (const node of nodes.producers) expect([node.topics.length, node.tombstones.length]).toEqual([1500, 1500]);
    let others = 0;
    let over = false;
    const debug = (async () => {
      const answer = (await lookup.get("/debug")) as Record<string, unknown[]>;
      over = true;
      return answer;
    })();
    while (!over) {
      expect(await lookup.producers(topics[7])).toHaveLength(20);
      others++;
    }
    const registered = await debug;
    expect(Object.keys(registered)).toHaveLength(2 * 1500 + 1);
    expect(Object.keys(registered)).toEqual(Object.keys(registered).toSorted());
    for (const producers of Object.values(registered)) expect(producers).toHaveLength(20);
    expect(others).toBeGreaterThan(5);
  }, 60_000);

  test("drops a long answer whose client disconnects, and brokers that disconnect while it is sent", async () => {
    await using lookup = new InProcessLookup();
    lookup.log.level = "warn";
    const brokers = await Promise.all(Array.from({ length: 10 }, (_, i) => lookup.broker(`broker${i}`)));
    for (const broker of brokers) {
      broker.socket.write(Array.from({ length: 2000 }, (_, i) => `REGISTER topic${i} ch\n`).join(""));
      await broker.socket.until((bytes) => bytes.length > 6 * 2000 + 100);
    }
    const url = `http://127.0.0.1:${lookup.server.httpPort}/debug`;
    const left = new AbortController();
    const reader = (await fetch(url, { signal: left.signal })).body!.getReader();
    await reader.read();
    left.abort();
    const response = await fetch(url);
    for (const broker of brokers) broker.close();
    const told = (await response.json()) as Record<string, unknown[]>;
    expect(Object.values(told).every((producers) => producers.length > 0 && producers.length <= 10)).toBe(true);
    await until("all brokers are gone", async () => (await lookup.producers("topic1")).length === 0);
    expect(await lookup.get("/debug")).toEqual({});
  }, 60_000);
});

test("bytes are read from an inbox as they were pushed, however they were split", () => {
  const text = `first\n${"second".repeat(100)}\r\n\n`;
  const bytes = Buffer.concat([Buffer.from(text), int32(-7), Buffer.from("body"), Buffer.from("last\nrest")]);
  for (let size = 1; size <= bytes.length; size++) {
    const inbox = new Inbox();
    const taken: unknown[] = [];
    const steps = [
      () => inbox.readLine(),
      () => inbox.readLine(),
      () => inbox.readLine(),
      () => (inbox.length < 4 ? undefined : inbox.readInt32()),
      () => (inbox.length < 4 ? undefined : inbox.readBytes(4).toString()),
      () => inbox.readLine(),
    ];
    for (let at = 0; at < bytes.length; at += size) {
      // After compact() the caller may change the packet's buffer.
      const packet = Buffer.from(bytes.subarray(at, at + size));
      inbox.push(packet);
      for (let value = steps[0]?.(); value !== undefined; value = steps[0]?.()) {
        taken.push(value);
        steps.shift();
      }
      inbox.compact();
      packet.fill(0);
    }
    expect(taken).toEqual(["first", `${"second".repeat(100)}\r`, "", -7, "body", "last"]);
    expect(inbox.length).toBe("rest".length);
  }
});

test("white space is trimmed from a line as Go's strings.TrimSpace does", () => {
  const latin1 = (text: string) => Buffer.from(text).toString("latin1");
  for (const space of ["\t\n\v\f\r ", "\u0085", "\u00a0", "\u1680", "\u2000", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"]) {
    expect(trimSpace(latin1(`${space}a${space}b${space}`))).toBe(latin1(`a${space}b`));
    expect(trimSpace(latin1(space))).toBe("");
  }
  // These are no white space: a zero width space, a byte order mark, half of a two-byte space.
  for (const other of ["\u200b", "\ufeff", "\u180e"]) expect(trimSpace(latin1(other))).toBe(latin1(other));
  expect(trimSpace("\xc2")).toBe("\xc2");
  expect(trimSpace("\xa0")).toBe("\xa0");
  expect(trimSpace("")).toBe("");
  const long = " ".repeat(100_000);
  expect(trimSpace(`${long}x${long}`)).toBe("x");
});

test("a body behind its size may be followed by another command", async () => {
  await using lookup = new InProcessLookup();
  const client = await lookup.client();
  client.socket.write(Buffer.concat([Buffer.from("IDENTIFY\n"), sized(JSON.stringify(identityOf("a"))), Buffer.from("PING\n")]));
  expect((await client.next())?.toString()).toStartWith("{");
  expect((await client.next())?.toString()).toBe("OK");
});

test("/ready says no until brokers have had time to register", async () => {
  await using started = new InProcessLookup();
  for (const method of ["GET", "HEAD"]) {
    const response = await fetch(`http://127.0.0.1:${started.server.httpPort}/ready`, { method });
    expect([response.status, await response.text()]).toEqual([503, method === "HEAD" ? "" : "NOK - starting: brokers are registering"]);
  }
  let nowMs = 1_000;
  const clock = { monotonicMs: () => nowMs, wallMs: () => 0 };
  const lookup = new Lookup(lookupOptions(), new MemoryLogger(), new DescriptorBudget(1_000), "", clock);
  nowMs += 4_999;
  expect(ready({ lookup }).status).toBe(503);
  nowMs += 1;
  expect(await ready({ lookup }).text()).toBe("OK");
});
