import { describe, expect, test } from "bun:test";
import type { NodeInfo, RegisteredNode } from "../../src/lookup/registered-node.ts";
import { Registry } from "../../src/lookup/registry.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";

const INACTIVE_MS = 300_000;
const TOMBSTONE_MS = 45_000;

/** A registry with a clock that only moves when the test sets it. */
class Timed {
  nowMs = 1_000;
  private brokers = 0;
  readonly registry = new Registry(
    { inactiveProducerTimeoutMs: INACTIVE_MS, tombstoneLifetimeMs: TOMBSTONE_MS },
    { monotonicMs: () => this.nowMs, wallMs: () => 1_800_000_000_000 + this.nowMs },
  );

  broker(info: Partial<NodeInfo> = {}): RegisteredNode {
    const number = ++this.brokers;
    return this.registry.addNode({
      remoteAddress: `10.0.0.${number}:4000`,
      hostname: `host${number}`,
      broadcastAddress: `broker${number}`,
      tcpPort: 4150,
      httpPort: 4151,
      version: "1.3.0",
      distributedId: "",
      makesPartitions: false,
      ...info,
    });
  }

  /** The answer about a topic: its channels, then the names of its brokers. */
  told(topic: string): string | undefined {
    const found = this.registry.lookup(topic);
    return found && `${found.channels.join(",")} at ${found.nodes.map(({ info }) => info.broadcastAddress).join(",")}`;
  }
}

describe("a topic", () => {
  test("is found at every node that registered it, in the order in which they connected", () => {
    const timed = new Timed();
    expect(timed.told("orders")).toBeUndefined();
    const brokers = [timed.broker(), timed.broker(), timed.broker()];
    for (const broker of [brokers[2], brokers[0], brokers[1]]) timed.registry.register(broker, "orders", "");
    expect(timed.told("orders")).toBe(" at broker1,broker2,broker3");
  });

  test("is registered along with its channel, each only once", () => {
    const timed = new Timed();
    const broker = timed.broker();
    expect(timed.registry.register(broker, "orders", "mail")).toEqual({ topic: true, channel: true });
    expect(timed.registry.register(broker, "orders", "mail")).toEqual({ topic: false, channel: false });
    expect(timed.registry.register(broker, "orders", "bills")).toEqual({ topic: false, channel: true });
    expect(timed.told("orders")).toBe("mail,bills at broker1");
  });

  test("stays known without nodes when its last node unregisters it", () => {
    const timed = new Timed();
    const broker = timed.broker();
    timed.registry.register(broker, "orders", "mail");
    expect(timed.registry.unregisterTopic(broker, "orders")).toEqual({ topic: true, channels: ["mail"] });
    expect(timed.told("orders")).toBe("mail at ");
    expect(timed.registry.unregisterTopic(broker, "orders")).toEqual({ topic: false, channels: [] });
    expect(timed.registry.unregisterTopic(broker, "never")).toEqual({ topic: false, channels: [] });
    expect(broker.registrations.size).toBe(0);
  });

  test("that is ephemeral is removed with its last node", () => {
    const timed = new Timed();
    const [one, two] = [timed.broker(), timed.broker()];
    for (const broker of [one, two]) timed.registry.register(broker, "live#ephemeral", "");
    timed.registry.unregisterTopic(one, "live#ephemeral");
    expect(timed.told("live#ephemeral")).toBe(" at broker2");
    timed.registry.unregisterTopic(two, "live#ephemeral");
    expect(timed.registry.lookup("live#ephemeral")).toBeUndefined();
    expect(timed.registry.topicNames()).toEqual([]);
  });

  test("that is ephemeral leaves its channels until they are deleted, as in nsqlookupd", () => {
    const timed = new Timed();
    const broker = timed.broker();
    timed.registry.register(broker, "live#ephemeral", "mail");
    timed.registry.unregisterTopic(broker, "live#ephemeral");
    expect(timed.registry.lookup("live#ephemeral")).toBeUndefined();
    expect(timed.registry.channelNames("live#ephemeral")).toEqual(["mail"]);
    expect(timed.registry.deleteChannel("live#ephemeral", "mail")).toBe(true);
    expect([...timed.registry.allTopics()]).toEqual([]);
  });

  test("that is deleted is removed from its nodes, which can register it again", () => {
    const timed = new Timed();
    const broker = timed.broker();
    timed.registry.register(broker, "orders", "mail");
    timed.registry.register(broker, "bills", "");
    expect(timed.registry.deleteTopic("orders")).toEqual([{ topic: "orders", registered: true, channels: ["mail"] }]);
    expect(timed.registry.deleteTopic("orders")).toEqual([]);
    expect(timed.told("orders")).toBeUndefined();
    expect(broker.registrations.size).toBe(1);
    expect(timed.registry.register(broker, "orders", "")).toEqual({ topic: true, channel: false });
    expect(timed.told("orders")).toBe(" at broker1");
  });

  test("that an operator creates is known without a node", () => {
    const timed = new Timed();
    timed.registry.createTopic("orders");
    timed.registry.createChannel("bills", "mail");
    expect(timed.registry.topicNames()).toEqual(["orders", "bills"]);
    expect(timed.told("orders")).toBe(" at ");
    expect(timed.told("bills")).toBe("mail at ");
  });
});

describe("a channel", () => {
  test("stays known when its last node unregisters it, unless it is ephemeral", () => {
    const timed = new Timed();
    const [one, two] = [timed.broker(), timed.broker()];
    for (const broker of [one, two]) {
      timed.registry.register(broker, "orders", "mail");
      timed.registry.register(broker, "orders", "tail#ephemeral");
    }
    expect(timed.registry.unregisterChannel(one, "orders", "tail#ephemeral")).toBe(true);
    expect(timed.registry.channelNames("orders")).toEqual(["mail", "tail#ephemeral"]);
    expect(timed.registry.unregisterChannel(two, "orders", "tail#ephemeral")).toBe(true);
    for (const broker of [one, two]) expect(timed.registry.unregisterChannel(broker, "orders", "mail")).toBe(true);
    expect(timed.registry.channelNames("orders")).toEqual(["mail"]);
    expect(timed.registry.unregisterChannel(one, "orders", "mail")).toBe(false);
    expect(timed.registry.unregisterChannel(one, "never", "mail")).toBe(false);
  });

  test("that is ephemeral and has no node is removed when any node unregisters it", () => {
    const timed = new Timed();
    timed.registry.createChannel("orders", "tail#ephemeral");
    expect(timed.registry.unregisterChannel(timed.broker(), "orders", "tail#ephemeral")).toBe(false);
    expect(timed.registry.channelNames("orders")).toEqual([]);
  });

  test("is deleted without its topic, once", () => {
    const timed = new Timed();
    const broker = timed.broker();
    timed.registry.register(broker, "orders", "mail");
    expect(timed.registry.deleteChannel("orders", "mail")).toBe(true);
    expect(timed.registry.deleteChannel("orders", "mail")).toBe(false);
    expect(timed.registry.deleteChannel("never", "mail")).toBe(false);
    expect(timed.told("orders")).toBe(" at broker1");
    expect(broker.registrations.size).toBe(1);
  });
});

describe("a node", () => {
  test("that disconnects is not found any more, but its names stay, also ephemeral ones", () => {
    const timed = new Timed();
    const [one, two] = [timed.broker(), timed.broker()];
    timed.registry.register(one, "orders", "mail");
    timed.registry.register(two, "orders", "tail#ephemeral");
    timed.registry.register(one, "live#ephemeral", "");
    expect(timed.registry.removeNode(one)).toBe(3);
    expect(timed.told("orders")).toBe("mail,tail#ephemeral at broker2");
    expect(timed.told("live#ephemeral")).toBe(" at ");
    expect(timed.registry.activeNodes()).toEqual([two]);
    expect(timed.registry.removeNode(two)).toBe(2);
    expect(timed.registry.allNodes()).toEqual([]);
  });

  test("with thousands of topics is hidden at once when it disconnects, and removed in slices", () => {
    const timed = new Timed();
    const [one, two] = [timed.broker(), timed.broker()];
    for (let i = 0; i < 1000; i++) for (const broker of [one, two]) timed.registry.register(broker, `topic${i}`, "");
    timed.registry.tombstone("topic999", "broker1:4151");
    expect(timed.registry.removeNode(one)).toBe(1000);
    for (let i = 0; i < 1000; i++) expect(timed.told(`topic${i}`)).toBe(" at broker2");
    expect(timed.registry.unregisterSome(one, 999)).toBe(false);
    expect(timed.registry.topic("topic999")!.nodes.items).toEqual([two]);
    expect(timed.registry.topic("topic999")!.tombstones!.size).toBe(0);
    expect(timed.registry.topic("topic0")!.nodes.items).toEqual([one, two]);
    expect(timed.registry.unregisterSome(one, 1)).toBe(true);
    expect(timed.registry.topic("topic0")!.nodes.items).toEqual([two]);
    expect(timed.registry.unregisterSome(one, 1)).toBe(true);
  });

  test.each([
    ["::1", "::1:4151"],
    ["::1", "[::1]:4151"],
    ["[::1]", "[::1]:4151"],
    ["[::1]", "::1:4151"],
    ["fe80::1%eth0", "[fe80::1%eth0]:4151"],
    ["10.0.0.7", "[10.0.0.7]:4151"],
    ["broker.example", "broker.example:4151"],
  ])("that broadcasts %s is tombstoned as %s", (broadcastAddress, named) => {
    const timed = new Timed();
    const [one, two] = [timed.broker({ broadcastAddress }), timed.broker()];
    for (const node of [one, two]) timed.registry.register(node, "orders", "");
    timed.registry.tombstone("orders", named);
    expect(timed.told("orders")).toBe(" at broker2");
  });

  test.each(["[::1:4151", "::1]:4151", "[]::1:4151", "[::1]4151", "[[::1]]:4151", "[::1]:4152", ""])(
    "that broadcasts ::1 is not tombstoned as %p",
    (named) => {
      const timed = new Timed();
      timed.registry.register(timed.broker({ broadcastAddress: "::1" }), "orders", "");
      timed.registry.tombstone("orders", named);
      expect(timed.told("orders")).toBe(" at ::1");
    },
  );

  test("is active for exactly the timeout after its last sign of life", () => {
    const timed = new Timed();
    const broker = timed.broker();
    timed.registry.register(broker, "orders", "");
    timed.nowMs += INACTIVE_MS;
    expect(timed.told("orders")).toBe(" at broker1");
    timed.nowMs += 1;
    expect(timed.told("orders")).toBe(" at ");
    expect(timed.registry.activeNodes()).toEqual([]);
    expect(timed.registry.allNodes()).toEqual([broker]);
    expect(timed.registry.markSeen(broker)).toBe(INACTIVE_MS + 1);
    expect(timed.told("orders")).toBe(" at broker1");
    expect(timed.registry.activeNodes()).toEqual([broker]);
  });
});

describe("a tombstone", () => {
  function tombstoned(): { timed: Timed; brokers: RegisteredNode[] } {
    const timed = new Timed();
    const brokers = [timed.broker(), timed.broker()];
    for (const broker of brokers) {
      timed.registry.register(broker, "orders", "");
      timed.registry.register(broker, "bills", "");
    }
    timed.registry.tombstone("orders", "broker1:4151");
    return { timed, brokers };
  }

  test("hides one node of one topic for its lifetime", () => {
    const { timed, brokers } = tombstoned();
    expect(timed.told("orders")).toBe(" at broker2");
    expect(timed.told("bills")).toBe(" at broker1,broker2");
    expect(timed.registry.isTombstoned(timed.registry.topic("orders")!, brokers[0])).toBe(true);
    expect(timed.registry.activeNodes()).toEqual(brokers);
    timed.nowMs += TOMBSTONE_MS - 1;
    expect(timed.told("orders")).toBe(" at broker2");
    timed.nowMs += 1;
    expect(timed.told("orders")).toBe(" at broker1,broker2");
    expect(timed.registry.isTombstoned(timed.registry.topic("orders")!, brokers[0])).toBe(false);
  });

  test("outlives a REGISTER, but not an UNREGISTER", () => {
    const { timed, brokers } = tombstoned();
    timed.registry.register(brokers[0], "orders", "");
    expect(timed.told("orders")).toBe(" at broker2");
    timed.registry.unregisterTopic(brokers[0], "orders");
    timed.registry.register(brokers[0], "orders", "");
    expect(timed.told("orders")).toBe(" at broker1,broker2");
  });

  test("is not set for a node with another name or HTTP port", () => {
    const { timed } = tombstoned();
    for (const node of ["broker2", "broker2:4150", "BROKER2:4151", "", "host2:4151"]) timed.registry.tombstone("orders", node);
    timed.registry.tombstone("never", "broker2:4151");
    expect(timed.told("orders")).toBe(" at broker2");
  });
});

describe("the name *", () => {
  test("means every topic, and lists each node once", () => {
    const timed = new Timed();
    const [one, two] = [timed.broker(), timed.broker()];
    expect(timed.told("*")).toBeUndefined();
    timed.registry.register(one, "orders", "mail");
    timed.registry.register(two, "orders", "");
    timed.registry.register(one, "bills", "mail");
    expect(timed.told("*")).toBe("mail,mail at broker1,broker2");
    expect(timed.registry.deleteTopic("*").map(({ topic }) => topic)).toEqual(["orders", "bills"]);
    expect(timed.registry.topicNames()).toEqual([]);
  });
});

test("after any sequence of changes the registry equals a simple model of nsqlookupd's map", () => {
  // Like nsqlookupd, the model has one map of keys, each with its nodes.
  const seed = seedFromEnvironment();
  console.log(`BUNSQ_SEED=${seed}`);
  const random = new Random(seed);
  const timed = new Timed();
  const { registry } = timed;
  const model = new Map<string, Set<RegisteredNode>>();
  const key = (topic: string, channel: string) => (channel === "" ? `topic:${topic}` : `channel:${topic}:${channel}`);
  const channelsOf = (topic: string) => [...model.keys()].filter((name) => name.startsWith(`channel:${topic}:`));
  const join = (name: string, node: RegisteredNode) => model.set(name, (model.get(name) ?? new Set()).add(node));
  const leave = (name: string, node: RegisteredNode) => {
    const nodes = model.get(name);
    nodes?.delete(node);
    if ((nodes?.size ?? 0) === 0 && name.endsWith("#ephemeral")) model.delete(name);
  };
  let brokers = [timed.broker(), timed.broker(), timed.broker()];
  const topics = ["a", "b", "c#ephemeral"];
  const channels = ["x", "y#ephemeral"];
  for (let step = 0; step < 20_000; step++) {
    const node = random.pick(brokers);
    const topic = random.pick(topics);
    const channel = random.pick(channels);
    switch (random.int(0, 7)) {
      case 0:
      case 1:
        registry.register(node, topic, channel);
        join(key(topic, channel), node);
        join(key(topic, ""), node);
        break;
      case 2:
        registry.unregisterChannel(node, topic, channel);
        leave(key(topic, channel), node);
        break;
      case 3:
        registry.unregisterTopic(node, topic);
        for (const name of channelsOf(topic)) model.get(name)?.delete(node);
        leave(key(topic, ""), node);
        break;
      case 4:
        registry.removeNode(node);
        while (!registry.unregisterSome(node, random.int(1, 3)));
        for (const nodes of model.values()) nodes.delete(node);
        brokers = [...brokers.filter((other) => other !== node), timed.broker()];
        break;
      case 5:
        registry.deleteTopic(topic);
        for (const name of channelsOf(topic)) model.delete(name);
        model.delete(key(topic, ""));
        break;
      case 6:
        expect(registry.deleteChannel(topic, channel)).toBe(model.delete(key(topic, channel)));
        break;
      default:
        registry.createChannel(topic, channel);
        model.set(key(topic, channel), model.get(key(topic, channel)) ?? new Set());
        model.set(key(topic, ""), model.get(key(topic, "")) ?? new Set());
    }
    const shown: Record<string, number[]> = {};
    for (const { name, registered, nodes, channels: own } of registry.allTopics()) {
      if (registered) shown[key(name, "")] = nodes.items.map(({ ordinal }) => ordinal);
      else expect(nodes.size).toBe(0);
      for (const each of own.items) shown[key(name, each.name)] = each.nodes.items.map(({ ordinal }) => ordinal);
    }
    const expected = Object.fromEntries(
      [...model].map(([name, nodes]) => [name, [...nodes].map(({ ordinal }) => ordinal).sort((a, b) => a - b)]),
    );
    expect(shown).toEqual(expected);
    for (const broker of brokers) {
      expect(broker.registrations.size).toBe([...model.values()].filter((nodes) => nodes.has(broker)).length);
    }
  }
});
