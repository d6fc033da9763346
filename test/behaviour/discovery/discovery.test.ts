import { describe, expect, test } from "bun:test";
import { Discovery } from "../../../src/broker/discovery/discovery.ts";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { lookupFlags } from "../../../src/cli/lookup-flags.ts";
import { type LookupServer, startLookup } from "../../../src/lookup/start-lookup.ts";
import { expectNothing, InProcess, MemoryLogger, messages } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { FakeLookup } from "./support/fake-lookup.ts";

interface LookupAnswer {
  channels: string[];
  producers: { broadcast_address: string; tcp_port: number; http_port: number; hostname: string; version: string }[];
}

/** A lookup server of ours in this process. */
class Lookup implements AsyncDisposable {
  readonly log = new MemoryLogger();
  private readonly server: LookupServer;

  constructor() {
    const { options } = parseFlags(lookupFlags("test"), []);
    const addresses = { tcpAddress: "127.0.0.1:0", httpAddress: "127.0.0.1:0", broadcastAddress: "127.0.0.1" };
    this.server = startLookup({ ...options, ...addresses }, this.log);
  }

  get address(): string {
    return `127.0.0.1:${this.server.tcpPort}`;
  }

  async call(method: string, path: string): Promise<Response> {
    return await fetch(`http://127.0.0.1:${this.server.httpPort}${path}`, { method });
  }

  /** What it answers about a topic; undefined for an unknown one. */
  async lookup(topic: string): Promise<LookupAnswer | undefined> {
    const response = await this.call("GET", `/lookup?topic=${encodeURIComponent(topic)}`);
    return response.status === 404 ? undefined : ((await response.json()) as LookupAnswer);
  }

  async topics(): Promise<string[]> {
    return ((await (await this.call("GET", "/topics")).json()) as { topics: string[] }).topics;
  }

  /** Makes a channel known, as if another broker had it once. */
  async makeChannel(topic: string, channel: string): Promise<void> {
    const query = `topic=${encodeURIComponent(topic)}&channel=${encodeURIComponent(channel)}`;
    expect((await this.call("POST", `/channel/create?${query}`)).status).toBe(200);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.stop();
  }
}

/** A broker that registers, with an HTTP port on which it does not listen. */
class Setting implements AsyncDisposable {
  readonly inProcess: InProcess;
  discovery!: Discovery;

  constructor(...lookups: { address: string }[]) {
    this.inProcess = InProcess.start({ lookupdTcpAddresses: lookups.map(({ address }) => address), broadcastAddress: "broker.example" });
  }

  start(options: Partial<BrokerOptions> = {}, httpPort = 4151): this {
    Object.assign(this.broker.options, options);
    this.broker.httpPort = httpPort;
    this.discovery = Discovery.start(this.broker);
    return this;
  }

  /** A broker that is registered with all of `lookups`. */
  static async registered(...lookups: Lookup[]): Promise<Setting> {
    const setting = new Setting(...lookups).start();
    await setting.untilRegistered(lookups.length);
    return setting;
  }

  get broker() {
    return this.inProcess.broker;
  }

  async untilRegistered(times: number): Promise<void> {
    await until("it is registered", () => this.inProcess.log.matching(/LOOKUPD\(.*\): registered/).length === times);
  }

  change(options: Partial<BrokerOptions>): void {
    Object.assign(this.broker.options, options);
    for (const changed of this.broker.optionsChanged) changed();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.discovery.close();
    await this.inProcess[Symbol.asyncDispose]();
  }
}

/** A lookup with a fake TCP side, and an HTTP side that answers what a test wants. */
class FakeServer implements AsyncDisposable {
  readonly tcp = new FakeLookup();
  readonly asked: string[] = [];
  answer: (path: string) => Response | Promise<Response> = () => Response.json({ channels: [] });
  private readonly http = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const { pathname, search } = new URL(request.url);
      this.asked.push(pathname + search);
      return this.answer(pathname + search);
    },
  });

  constructor() {
    const introduction = JSON.stringify({ tcp_port: 1, http_port: this.http.port, version: "1.3.0", broadcast_address: "127.0.0.1" });
    this.tcp.answer = (command) => (command === "IDENTIFY" ? introduction : "OK");
  }

  get address(): string {
    return `127.0.0.1:${this.tcp.port}`;
  }

  /** From now on answers wait until the returned function is called. */
  delayAnswers(response: () => Response): () => void {
    const gate = Promise.withResolvers<void>();
    this.answer = async () => {
      await gate.promise;
      return response();
    };
    return gate.resolve;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tcp[Symbol.dispose]();
    await this.http.stop(true);
  }
}

describe("a broker with lookups", () => {
  test("registers its topics and channels, and its address, with each of them", async () => {
    await using one = new Lookup();
    await using other = new Lookup();
    await using setting = new Setting(one, other);
    setting.broker.registry.topic("bare");
    setting.broker.registry.topic("topic").channel("a");
    setting.broker.registry.topic("topic").channel("b#ephemeral");
    setting.start();
    await setting.untilRegistered(2);
    for (const lookup of [one, other]) {
      expect((await lookup.topics()).sort()).toEqual(["bare", "topic"]);
      const told = await lookup.lookup("topic");
      expect(told?.channels.sort()).toEqual(["a", "b#ephemeral"]);
      expect(told?.producers).toHaveLength(1);
      expect(told?.producers[0]).toMatchObject({
        broadcast_address: "broker.example",
        tcp_port: setting.broker.tcpPort,
        http_port: 4151,
        version: "1.3.0",
      });
    }
  });

  test("tells the broadcast ports where they are not its own", async () => {
    await using lookup = new Lookup();
    await using setting = new Setting(lookup).start({ broadcastTcpPort: 14150, broadcastHttpPort: 14151 });
    setting.broker.registry.topic("topic");
    await until("it is told", async () => (await lookup.lookup("topic"))?.producers.length === 1);
    expect((await lookup.lookup("topic"))?.producers[0]).toMatchObject({ tcp_port: 14150, http_port: 14151 });
  });

  test("registers what is created, and unregisters what is deleted", async () => {
    await using lookup = new Lookup();
    await using setting = await Setting.registered(lookup);
    const { broker } = setting;
    const untilLookup = (what: string, condition: (told: LookupAnswer | undefined) => boolean) =>
      until(what, async () => condition(await lookup.lookup("topic")));
    broker.registry.topic("topic");
    await untilLookup("the topic", (told) => told?.producers.length === 1 && told.channels.length === 0);
    const consumer = await setting.inProcess.consumer("topic", "passing#ephemeral");
    broker.registry.topic("topic").channel("lasting");
    await untilLookup("the channels", (told) => told?.channels.length === 2);
    consumer.close();
    await untilLookup("the ephemeral one goes with its consumer", (told) => told?.channels.join() === "lasting");
    broker.registry.topic("topic").deleteChannel("lasting");
    broker.registry.deleteTopic("topic");
    await untilLookup("the topic goes", (told) => (told?.producers.length ?? 0) === 0);
    // The lookup logs a warning for a topic that goes before its channels.
    expect(lookup.log.matching(/unexpected/)).toEqual([]);
  });

  test("unregisters the channels of a deleted topic before the topic", async () => {
    await using fake = new FakeServer();
    await using setting = new Setting(fake).start();
    await setting.untilRegistered(1);
    setting.broker.registry.topic("topic").channel("a");
    setting.broker.registry.topic("topic").channel("b");
    setting.broker.registry.deleteTopic("topic");
    const [{ commands }] = fake.tcp.connections;
    await until("all is told", () => commands.length === 6);
    expect(commands.slice(3)).toEqual(["UNREGISTER topic a", "UNREGISTER topic b", "UNREGISTER topic"]);
  });

  test("follows its list of lookups when the list is changed at run time", async () => {
    await using one = new Lookup();
    await using other = new Lookup();
    await using setting = await Setting.registered(one);
    setting.broker.registry.topic("topic");
    await until("one knows", async () => (await one.lookup("topic"))?.producers.length === 1);
    setting.change({ lookupdTcpAddresses: [other.address, other.address, "not an address"] });
    await until("the other knows", async () => (await other.lookup("topic"))?.producers.length === 1);
    await until("the one has forgotten", async () => (await one.lookup("topic"))?.producers.length === 0);
    expect(setting.inProcess.log.matching(/LOOKUP\(.*\): adding peer/)).toHaveLength(2);
    expect(setting.inProcess.log.matching(/ERROR: LOOKUP\(not an address\): invalid address/)).toHaveLength(1);
    setting.change({ logLevel: "debug" });
    setting.change({ lookupdTcpAddresses: [] });
    await until("the other has forgotten", async () => (await other.lookup("topic"))?.producers.length === 0);
    expect(setting.inProcess.log.matching(/LOOKUP\(.*\): removing peer/)).toHaveLength(2);
  });

  test("is unknown to the lookups after it is closed", async () => {
    await using lookup = new Lookup();
    await using setting = await Setting.registered(lookup);
    setting.broker.registry.topic("topic");
    await until("it is known", async () => (await lookup.lookup("topic"))?.producers.length === 1);
    setting.discovery.close();
    await until("it is forgotten", async () => (await lookup.lookup("topic"))?.producers.length === 0);
  });

  test("logs why it does not register without HTTP", async () => {
    await using lookup = new Lookup();
    await using setting = new Setting(lookup).start({}, 0);
    setting.broker.registry.topic("topic");
    expect(setting.inProcess.log.matching(/ERROR: LOOKUP: not registering with any lookup: .* give -http-address/)).toHaveLength(1);
    expect(setting.broker.registry.topic("topic").withheld).toBeFalse();
    setting.change({ broadcastHttpPort: 4151 });
    await until("it registers once it can", async () => (await lookup.lookup("topic"))?.producers.length === 1);
  });

  test("does not register on a unix socket, where it has no TCP port to tell", async () => {
    await using fake = new FakeServer();
    await using setting = new Setting(fake);
    setting.change({ tcpAddress: "/run/bunsq.sock" });
    Object.defineProperty(setting.broker, "tcpPort", { value: 0 });
    setting.start();
    expect(setting.inProcess.log.matching(/ERROR: LOOKUP: not registering with any lookup: .* give -broadcast-tcp-port/)).toHaveLength(1);
    setting.change({ broadcastTcpPort: 4150 });
    await setting.untilRegistered(1);
  });

  test("refuses to start with a malformed address", async () => {
    await using inProcess = InProcess.start({ lookupdTcpAddresses: ["lookup.example"] });
    expect(() => Discovery.start(inProcess.broker)).toThrow('invalid address "lookup.example": give it as host:port');
  });
});

describe("a topic that is new on a broker", () => {
  test("starts with the channels that it has on other brokers, without ephemeral ones, and all get its first message", async () => {
    await using one = new Lookup();
    await using other = new Lookup();
    await one.makeChannel("topic", "a");
    await one.makeChannel("topic", "b");
    await other.makeChannel("topic", "b");
    await other.makeChannel("topic", "c");
    await other.makeChannel("topic", "d#ephemeral");
    await using setting = await Setting.registered(one, other);
    await setting.inProcess.publish("topic", "first");
    await until("its channels are there", () => setting.broker.registry.topic("topic").channels.size === 3);
    expect([...setting.broker.registry.topic("topic").channels.keys()].sort()).toEqual(["a", "b", "c"]);
    for (const channel of ["a", "b", "c"]) {
      const consumer = await setting.inProcess.consumer("topic", channel, 1);
      expect((await consumer.message()).text).toBe("first");
    }
    expect(setting.broker.registry.topic("topic").depth).toBe(0);
  });

  test("is looked up by its exact name, also if it is ephemeral", async () => {
    await using lookup = new Lookup();
    await lookup.makeChannel("topic#ephemeral", "a");
    await using setting = await Setting.registered(lookup);
    await setting.inProcess.publish("topic#ephemeral", "first");
    await until("its channel is there", () => setting.broker.registry.topic("topic#ephemeral").channels.size === 1);
    const consumer = await setting.inProcess.consumer("topic#ephemeral", "a", 1);
    expect((await consumer.message()).text).toBe("first");
  });

  test("accepts messages and consumers while the lookup has not answered, and then delivers to all from the first message on", async () => {
    await using fake = new FakeServer();
    const answer = fake.delayAnswers(() => Response.json({ channels: ["elsewhere"] }));
    await using setting = new Setting(fake).start();
    await setting.untilRegistered(1);
    await setting.inProcess.publish("topic", "first");
    const consumer = await setting.inProcess.consumer("topic", "here", 10);
    await setting.inProcess.publish("topic", "second");
    await expectNothing(consumer);
    const topic = setting.broker.registry.topic("topic");
    expect(topic).toMatchObject({ paused: false, depth: 2, messageCount: 2 });
    answer();
    expect((await messages(consumer, 2)).map(({ text }) => text)).toEqual(["first", "second"]);
    const other = await setting.inProcess.consumer("topic", "elsewhere", 10);
    expect((await messages(other, 2)).map(({ text }) => text)).toEqual(["first", "second"]);
    expect(fake.asked).toEqual(["/channels?topic=topic"]);
    expect(topic.depth).toBe(0);
  });

  test("stays paused if it is paused while it waits", async () => {
    await using fake = new FakeServer();
    const answer = fake.delayAnswers(() => Response.json({ channels: ["elsewhere"] }));
    await using setting = new Setting(fake).start();
    await setting.inProcess.publish("topic", "first");
    const topic = setting.broker.registry.topic("topic");
    topic.pause();
    answer();
    await until("its channel is there", () => topic.channels.has("elsewhere"));
    const consumer = await setting.inProcess.consumer("topic", "elsewhere", 1);
    await expectNothing(consumer);
    topic.unpause();
    expect((await consumer.message()).text).toBe("first");
  });

  test("waits for a lookup to which the connection is being made", async () => {
    await using fake = new FakeServer();
    fake.answer = () => Response.json({ channels: ["elsewhere"] });
    fake.tcp.answering = false;
    await using setting = new Setting(fake).start();
    await setting.inProcess.publish("topic", "first");
    const connection = await fake.tcp.connection(0);
    await until("the introduction", () => connection.pending.length === 1);
    expect(setting.broker.registry.topic("topic").withheld).toBeTrue();
    fake.tcp.answering = true;
    connection.answerAll();
    await until("its channel is there", () => setting.broker.registry.topic("topic").channels.has("elsewhere"));
  });

  test("does not wait for a lookup that cannot be reached", async () => {
    const gone = new FakeServer();
    await gone[Symbol.asyncDispose]();
    await using lookup = new Lookup();
    await lookup.makeChannel("topic", "a");
    await using setting = new Setting(gone, lookup).start();
    await setting.untilRegistered(1);
    await setting.inProcess.publish("topic", "first");
    await until("it is let go", () => !setting.broker.registry.topic("topic").withheld);
    expect([...setting.broker.registry.topic("topic").channels.keys()]).toEqual(["a"]);
    expect(setting.inProcess.log.matching(/no available nsqlookupd/)).toEqual([]);
  });

  test("logs that no lookup could be asked", async () => {
    const gone = new FakeServer();
    await gone[Symbol.asyncDispose]();
    await using setting = new Setting(gone).start();
    await setting.inProcess.publish("topic", "first");
    await until("it is let go", () => !setting.broker.registry.topic("topic").withheld);
    const line = "ERROR: no available nsqlookupd to query for channels to pre-create for topic topic";
    expect(setting.inProcess.log.lines).toContain(line);
  });

  test("waits no longer than the timeout of the request", async () => {
    await using fake = new FakeServer();
    const answer = fake.delayAnswers(() => Response.json({ channels: ["too-late"] }));
    await using setting = new Setting(fake).start({ httpClientRequestTimeoutMs: 100 });
    await setting.untilRegistered(1);
    const consumer = await setting.inProcess.consumer("topic", "here", 1);
    await setting.inProcess.publish("topic", "first");
    expect((await consumer.message()).text).toBe("first");
    // The request may time out at the same moment as the wait for it, which is logged, too.
    const said = setting.inProcess.log.matching(/WARNING: failed to query nsqlookupd for channels .* topic topic - .*within 100 ms/);
    expect(said.length).toBeWithin(1, 3);
    answer();
    expect(setting.broker.registry.topic("topic").channels.size).toBe(1);
  });

  for (const [what, response] of [
    ["no JSON", () => new Response("hello")],
    ["a list that is none", () => Response.json({ channels: "a" })],
    ["an error", () => Response.json({ message: "INTERNAL_ERROR" }, { status: 500 })],
    ["names that are none", () => Response.json({ channels: ["", "a b", "x".repeat(65), 7, null] })],
    ["nothing at all", () => Response.json(null)],
  ] as const) {
    test(`goes on when the lookup answers with ${what}`, async () => {
      await using fake = new FakeServer();
      fake.answer = response;
      await using setting = new Setting(fake).start();
      await setting.untilRegistered(1);
      const consumer = await setting.inProcess.consumer("topic", "here", 1);
      await setting.inProcess.publish("topic", "first");
      expect((await consumer.message()).text).toBe("first");
      expect(setting.broker.registry.topic("topic").channels.size).toBe(1);
    });
  }

  test("gets no channels from the answer if it is deleted and made again in the meantime", async () => {
    await using fake = new FakeServer();
    const answer = fake.delayAnswers(() => Response.json({ channels: ["elsewhere"] }));
    await using setting = new Setting(fake).start();
    await setting.untilRegistered(1);
    const first = setting.broker.registry.topic("topic");
    await until("the lookup is asked", () => fake.asked.length === 1);
    setting.broker.registry.deleteTopic("topic");
    const second = setting.broker.registry.topic("topic");
    answer();
    await until("the new one is let go", () => !second.withheld);
    expect([...second.channels.keys()]).toEqual(["elsewhere"]);
    expect(first.channels.size).toBe(0);
  });

  test("does not keep the broker from closing while it waits", async () => {
    await using fake = new FakeServer();
    fake.delayAnswers(() => Response.json({ channels: ["elsewhere"] }));
    await using setting = new Setting(fake).start();
    await setting.inProcess.publish("topic", "first");
    await setting.inProcess.restart();
    expect(setting.broker.registry.topic("topic").depth).toBe(1);
  });

  test("gets its channel also when thousands are made at once", async () => {
    await using lookup = new Lookup();
    const names = Array.from({ length: 1000 }, (_, i) => `topic${i}`);
    for (const name of names) await lookup.makeChannel(name, "elsewhere");
    await using setting = await Setting.registered(lookup);
    // Each waits for its answer from when it is made, also while the others are made.
    setting.change({ httpClientRequestTimeoutMs: 100_000 });
    for (const name of names) setting.broker.registry.topic(name);
    await until("all are let go", () => names.every((name) => !setting.broker.registry.topic(name).withheld), 90_000);
    expect(names.filter((name) => setting.broker.registry.topic(name).channels.has("elsewhere"))).toHaveLength(names.length);
  }, 100_000);
});
