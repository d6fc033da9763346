import { describe, expect, spyOn, test } from "bun:test";
import { LookupPeer, type PeerTiming, type Registrant } from "../../../src/broker/discovery/lookup-peer.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { FakeLookup, INTRODUCTION, sizeWord } from "./support/fake-lookup.ts";

/** Long enough that nothing times out on a busy machine, unless a test wants it. */
const PATIENT: Partial<PeerTiming> = { timeoutMs: 20_000, firstWaitMs: 5, longestWaitMs: 40 };
const IDENTITY = {
  version: "1.3.0",
  tcp_port: 4150,
  http_port: 4151,
  hostname: "host",
  broadcast_address: "broker.example",
  registers_partitions: true,
  node_id: 0,
};

/** A peer that is connected to a fake lookup. `using` disposes of both. */
class Setting implements Disposable {
  readonly lookup = new FakeLookup();
  readonly log = new MemoryLogger();
  /** The registrations of each connection. */
  commands = ["REGISTER topic", "REGISTER other channel"];
  peer!: LookupPeer;

  start(timing: Partial<PeerTiming> = PATIENT): this {
    const registrant: Registrant = { identity: () => IDENTITY, registrations: () => this.commands.values() };
    const address = { hostname: "127.0.0.1", port: this.lookup.port };
    this.peer = new LookupPeer(address, registrant, this.log, undefined, timing);
    return this;
  }

  untilRegistered(): Promise<void> {
    return until("it is registered", () => this.peer.registered);
  }

  [Symbol.dispose](): void {
    this.peer.close();
    this.lookup[Symbol.dispose]();
  }
}

describe("a lookup peer", () => {
  test("sends IDENTIFY, then registers everything", async () => {
    using setting = new Setting().start();
    await setting.untilRegistered();
    const [connection] = setting.lookup.connections;
    expect(connection.magic).toBe("  V1");
    expect(connection.identity).toEqual(IDENTITY);
    expect(connection.commands).toEqual(["REGISTER topic", "REGISTER other channel"]);
    expect(setting.peer.httpAddress).toEqual({ hostname: "lookup.example", port: 4161 });
    const name = `LOOKUPD(127.0.0.1:${setting.lookup.port})`;
    expect(setting.log.lines).toContain(
      `INFO: ${name}: peer info {TCPPort:4160 HTTPPort:4161 Version:1.3.0 BroadcastAddress:lookup.example}`,
    );
    expect(setting.log.lines).toContain(`INFO: ${name}: registered`);
  });

  test("registers nothing before the lookup has answered IDENTIFY", async () => {
    using setting = new Setting();
    setting.lookup.answering = false;
    setting.start();
    const connection = await setting.lookup.connection(0);
    await until("IDENTIFY", () => connection.pending.length === 1);
    setting.peer.queueChange("REGISTER told too-early");
    connection.answerAll();
    await until("the registrations", () => connection.pending.length === 2);
    connection.answerAll();
    await setting.untilRegistered();
    expect(connection.commands).toEqual(["REGISTER topic", "REGISTER other channel"]);
  });

  test("sends and logs each change in order, without waiting for answers", async () => {
    using setting = new Setting().start();
    await setting.untilRegistered();
    setting.lookup.answering = false;
    const changes = ["REGISTER t", "REGISTER t c", "UNREGISTER t c", "UNREGISTER t"];
    for (const change of changes) setting.peer.queueChange(change);
    const [connection] = setting.lookup.connections;
    await until("all changes", () => connection.pending.length === changes.length);
    expect(connection.commands.slice(2)).toEqual(changes);
    for (const change of changes) expect(setting.log.matching(new RegExp(`LOOKUPD.*: ${change}$`))).toHaveLength(1);
  });

  test("sends a PING at each interval, also without changes", async () => {
    using setting = new Setting().start({ ...PATIENT, pingIntervalMs: 10 });
    await until("three pings", () => setting.lookup.connections[0]?.commands.filter((command) => command === "PING").length === 3);
    expect(setting.lookup.connections).toHaveLength(1);
  });

  test("decodes answers in whatever pieces they come", async () => {
    using setting = new Setting();
    setting.lookup.answering = false;
    setting.start();
    const connection = await setting.lookup.connection(0);
    await until("IDENTIFY", () => connection.pending.length === 1);
    const introduction = Buffer.from(setting.lookup.answer("IDENTIFY"));
    for (const byte of Buffer.concat([sizeWord(introduction.length), introduction])) {
      connection.write(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until("the registrations", () => connection.commands.length === 2);
    const ok = Buffer.concat([sizeWord(2), Buffer.from("OK")]);
    connection.write(Buffer.concat([ok, ok.subarray(0, 5)]));
    connection.write(ok.subarray(5));
    await setting.untilRegistered();
    expect(setting.lookup.connections).toHaveLength(1);
  });

  test("sends at most 512 of thousands of registrations before their answers", async () => {
    using setting = new Setting();
    setting.commands = Array.from({ length: 10_000 }, (_, i) => `REGISTER topic${i} channel`);
    setting.start();
    await setting.untilRegistered();
    const [connection] = setting.lookup.connections;
    expect(connection.commands).toEqual(setting.commands);
    expect(connection.mostPending).toBeLessThanOrEqual(512);
    expect(connection.mostPending).toBeGreaterThan(1);
  });

  test("sends changes that come while it registers after the registrations", async () => {
    using setting = new Setting();
    setting.commands = Array.from({ length: 2000 }, (_, i) => `REGISTER topic${i}`);
    setting.lookup.answering = false;
    setting.start();
    const connection = await setting.lookup.connection(0);
    await until("IDENTIFY", () => connection.pending.length === 1);
    connection.answerAll();
    await until("the first registrations", () => connection.pending.length === 512);
    setting.peer.queueChange("UNREGISTER topic0");
    setting.lookup.answering = true;
    connection.answerAll();
    await setting.untilRegistered();
    expect(connection.commands).toEqual([...setting.commands, "UNREGISTER topic0"]);
  });

  test("connects and registers everything again when the lookup closes the connection", async () => {
    using setting = new Setting().start();
    await setting.untilRegistered();
    setting.commands = ["REGISTER new"];
    setting.lookup.connections[0].hangUp();
    const connection = await setting.lookup.connection(1);
    await setting.untilRegistered();
    expect(connection.commands).toEqual(["REGISTER new"]);
    expect(setting.log.matching(/ERROR: LOOKUPD.*: closed the connection/)).toHaveLength(1);
  });

  test("closes the connection to a lookup that does not answer in time, and connects again", async () => {
    using setting = new Setting().start({ ...PATIENT, timeoutMs: 60 });
    await setting.untilRegistered();
    setting.lookup.answering = false;
    setting.peer.queueChange("REGISTER t");
    const connection = await setting.lookup.connection(1);
    await until("the silent connection is closed", () => setting.lookup.connections[0].closed);
    expect(setting.log.lines).toContain(`ERROR: LOOKUPD(127.0.0.1:${setting.lookup.port}): REGISTER t - no answer within 60 ms`);
    setting.lookup.answering = true;
    connection.answerAll();
    await setting.untilRegistered();
  });

  test("does not take a stall of its own process for silence of the lookup", async () => {
    using setting = new Setting().start({ ...PATIENT, timeoutMs: 200 });
    await setting.untilRegistered();
    for (let i = 0; i < 3; i++) {
      setting.peer.queueChange(`REGISTER t${i}`);
      await new Promise((resolve) => setImmediate(resolve));
      Bun.sleepSync(500);
      await until("the answer", () => setting.lookup.connections[0].commands.length === 3 + i && setting.peer.registered);
    }
    expect(setting.lookup.connections).toHaveLength(1);
  });

  for (const [what, bytes] of [
    ["a negative length", sizeWord(-1)],
    ["an enormous length", sizeWord(2 ** 30)],
    ["an answer that no command awaits", Buffer.concat([sizeWord(2), Buffer.from("OK")])],
  ] as const) {
    test(`closes the connection after ${what}, and connects again`, async () => {
      using setting = new Setting().start();
      await setting.untilRegistered();
      setting.lookup.connections[0].write(bytes);
      await setting.lookup.connection(1);
      await until("the connection is closed", () => setting.lookup.connections[0].closed);
      await setting.untilRegistered();
      expect(setting.log.matching(/^ERROR/)).toHaveLength(1);
    });
  }

  for (const answer of ["E_INVALID", "E_BAD_BODY IDENTIFY missing fields", "[]", '{"http_port":"4161"}']) {
    test(`connects again when IDENTIFY is answered with ${answer}`, async () => {
      using setting = new Setting();
      setting.lookup.answer = () => answer;
      setting.start();
      await setting.lookup.connection(2);
      expect(setting.lookup.connections.flatMap(({ commands }) => commands)).toEqual([]);
      expect(setting.log.lines).toContain(`ERROR: LOOKUPD(127.0.0.1:${setting.lookup.port}): IDENTIFY - ${answer}`);
      expect(setting.peer.httpAddress).toBeUndefined();
      await setting.peer.firstAttempt;
    });
  }

  test("registers with a lookup that does not tell its HTTP address, and logs that", async () => {
    using setting = new Setting();
    setting.lookup.answer = (command) => (command === "IDENTIFY" ? '{"tcp_port":4160,"http_port":4161}' : "OK");
    setting.start();
    await setting.untilRegistered();
    expect(setting.peer.httpAddress).toBeUndefined();
    expect(setting.log.matching(/ERROR: LOOKUPD.*: no broadcast address$/)).toHaveLength(1);
  });

  for (const broadcast of ["::1", "[::1]"]) {
    test(`takes the IPv6 address of a lookup as ${broadcast}`, async () => {
      using setting = new Setting();
      const introduction = JSON.stringify({ http_port: 4161, broadcast_address: broadcast });
      setting.lookup.answer = (command) => (command === "IDENTIFY" ? introduction : "OK");
      setting.start();
      await setting.untilRegistered();
      expect(setting.peer.httpAddress).toEqual({ hostname: "::1", port: 4161 });
    });
  }

  test("logs an error with the command that it answers", async () => {
    using setting = new Setting();
    setting.lookup.answer = (command) => (command.endsWith("channel") ? "E_BAD_CHANNEL no" : command === "IDENTIFY" ? INTRODUCTION : "OK");
    setting.start();
    await setting.untilRegistered();
    expect(setting.log.matching(/^ERROR: LOOKUPD.*: REGISTER other channel - E_BAD_CHANNEL no$/)).toHaveLength(1);
  });

  test("registers everything again when a slow lookup falls too far behind", async () => {
    using setting = new Setting().start();
    await setting.untilRegistered();
    setting.lookup.answering = false;
    for (let i = 0; i < 5000; i++) setting.peer.queueChange(`REGISTER topic${i}`);
    setting.lookup.answering = true;
    const connection = await setting.lookup.connection(1);
    await setting.untilRegistered();
    expect(connection.commands).toEqual(setting.commands);
    expect(setting.log.matching(/ERROR: .*changes behind/)).toHaveLength(1);
  });

  test("waits longer after each failed attempt, up to a limit, and starts with the first wait again once it was registered", async () => {
    using setting = new Setting();
    setting.lookup.answer = () => "E_INVALID";
    // What it asks for, rather than when a busy machine calls it back.
    using timers = spyOn(globalThis, "setTimeout");
    const waitsMs = () => timers.mock.calls.map(([, delayMs]) => delayMs ?? 0);
    setting.start({ ...PATIENT, firstWaitMs: 40, longestWaitMs: 160 });
    await setting.lookup.connection(5);
    // Each wait is between half and all of these. In between there may be timers of others in this process.
    const others = waitsMs().values();
    for (const mostMs of [40, 80, 160, 160, 160]) expect(others.some((delayMs) => delayMs >= mostMs / 2 && delayMs <= mostMs)).toBe(true);
    // A lookup that cannot be reached for long does not fill the log.
    expect(setting.log.matching(/^ERROR/)).toHaveLength(1);

    setting.lookup.answer = (command) => (command === "IDENTIFY" ? INTRODUCTION : "OK");
    await setting.untilRegistered();
    for (let i = 0; i < 5; i++) {
      const { length } = setting.lookup.connections;
      timers.mockClear();
      setting.lookup.connections.at(-1)?.hangUp();
      await setting.lookup.connection(length);
      await setting.untilRegistered();
      expect(waitsMs().filter((delayMs) => delayMs >= 20 && delayMs <= 40)).toHaveLength(1);
    }
  });

  test("makes no other connection after close()", async () => {
    using setting = new Setting().start();
    await setting.untilRegistered();
    setting.peer.close();
    await until("the connection is closed", () => setting.lookup.connections[0].closed);
    setting.peer.queueChange("REGISTER t");
    // Longer than any wait before a new connection.
    await Bun.sleep(100);
    expect(setting.lookup.connections).toHaveLength(1);
    expect(setting.log.matching(/LOOKUP\(.*\): removing peer/)).toHaveLength(1);
  });

  test("waits for a lookup that does not run yet", async () => {
    const gone = new FakeLookup();
    const { port } = gone;
    gone[Symbol.dispose]();
    const log = new MemoryLogger();
    const registrant: Registrant = { identity: () => IDENTITY, registrations: () => ["REGISTER t"].values() };
    const peer = new LookupPeer({ hostname: "127.0.0.1", port }, registrant, log, undefined, PATIENT);
    await peer.firstAttempt;
    expect(peer.httpAddress).toBeUndefined();
    expect(log.matching(/^ERROR: LOOKUPD.*ECONNREFUSED/)).toHaveLength(1);
    const connected = Promise.withResolvers<void>();
    const listener = Bun.listen({ hostname: "127.0.0.1", port, socket: { open: () => connected.resolve(), data: () => {} } });
    await connected.promise;
    peer.close();
    listener.stop(true);
  });
});
