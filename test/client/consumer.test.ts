import { expect, test } from "bun:test";
import { Consumer, type ConsumerEvent, type ConsumerOptions } from "../../src/client/bun.ts";
import type { Transport } from "../../src/client/transport.ts";
import { bunTransport } from "../../src/client/transports/bun.ts";
import { FRAME_TYPE_ERROR, FRAME_TYPE_MESSAGE } from "../../src/frame/frame.ts";
import { until } from "../support/server.ts";
import { RecordingBroker } from "./support/recording-broker.ts";

function consumerOf(broker: RecordingBroker, options: Partial<ConsumerOptions> = {}): Consumer {
  return new Consumer({ brokers: [broker.address], topic: "t", channel: "c", maxInFlight: 10, maxReconnectMs: 5, ...options });
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => `${i}`);

test("answers of one turn are sent in one write", async () => {
  let writes = 0;
  const counting: Transport = {
    ...bunTransport,
    connect: (address, events) => {
      const socket = bunTransport.connect(address, events);
      const write = socket.write.bind(socket);
      socket.write = (bytes) => {
        writes++;
        return write(bytes);
      };
      return socket;
    },
  };
  using broker = new RecordingBroker(numbers(1_000));
  const consumer = consumerOf(broker, { maxInFlight: 1_000, transport: counting });
  void consumer.run(() => {});
  await until("all are finished", () => broker.isDone && broker.commands.length === 1_002);
  // IDENTIFY, SUB, RDY, and the answers of each piece that came.
  expect(writes).toBeLessThan(60);
  await consumer.close();
});

test("a message is answered once, whatever the program does", async () => {
  using broker = new RecordingBroker(["x"]);
  const consumer = consumerOf(broker);
  const results: boolean[] = [];
  void consumer.run((message) => {
    results.push(message.touch(), message.finish(), message.finish(), message.requeue(), message.touch());
    expect(message.isAnswered).toBe(true);
  });
  await until("the answer", () => broker.commands.includes("FIN"));
  await consumer.close();
  expect(results).toEqual([true, true, false, false, false]);
  expect(broker.commands).toEqual(["SUB", "RDY 10", "TOUCH", "FIN", "CLS"]);
});

test("a message whose connection is gone cannot be answered, and says so", async () => {
  using broker = new RecordingBroker(["x"]);
  const consumer = consumerOf(broker);
  let answered: boolean | undefined;
  void consumer.run(
    async (message) => {
      broker.cut();
      await until("the end of the connection", () => message.isLost);
      answered = message.finish();
    },
    { manual: true },
  );
  await until("the answer", () => answered !== undefined);
  expect(answered).toBe(false);
  await until("it is connected again", () => consumer.connected.length === 1);
  expect(consumer.inFlight).toBe(0);
  await consumer.close();
});

test("a delay that is no number is the caller's mistake, and harms no other message", async () => {
  using broker = new RecordingBroker(["x", "y"]);
  const consumer = consumerOf(broker, { backoff: false });
  const failures: string[] = [];
  void consumer.run((message) => {
    if (message.text() === "y") return;
    for (const delayMs of [Number.NaN, Number.POSITIVE_INFINITY, 1e21]) {
      try {
        message.requeue(delayMs);
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
    message.requeue(10);
  });
  await until("both are answered", () => broker.commands.includes("FIN") && broker.commands.includes("REQ"));
  expect(failures).toEqual(["invalid delay of NaN ms", "invalid delay of Infinity ms", "invalid delay of 1e+21 ms"]);
  await consumer.close();
});

test("with manual answers a handler's end leaves the message in flight", async () => {
  using broker = new RecordingBroker(numbers(5));
  const consumer = consumerOf(broker);
  const held: { finish(): boolean }[] = [];
  void consumer.run((message) => void held.push(message), { manual: true });
  await until("all", () => held.length === 5);
  expect(consumer.inFlight).toBe(5);
  for (const message of held) message.finish();
  await until("the answers", () => broker.isDone);
  await consumer.close();
});

test("an error that no call waits for is an event", async () => {
  using broker = new RecordingBroker();
  const events: ConsumerEvent[] = [];
  const consumer = consumerOf(broker, { onEvent: (event) => void events.push(event) });
  void consumer.run(() => {});
  await consumer.ready();
  broker.send(FRAME_TYPE_ERROR, "E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight");
  await until("the event", () => events.some(({ type }) => type === "broker-error"));
  const event = events.find(({ type }) => type === "broker-error");
  expect(event).toMatchObject({ broker: broker.address, error: { code: "E_FIN_FAILED" } });
  expect(consumer.connected).toEqual([broker.address]);
  await consumer.close();
});

test("bytes that are no frames end the connection, with an event", async () => {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (socket) => void socket.write("HTTP/1.1 400 Bad Request\r\n\r\n") },
  });
  const consumer = new Consumer({ brokers: [`127.0.0.1:${server.port}`], topic: "t", channel: "c" });
  const events = consumer.events();
  void consumer.run(() => {});
  for await (const event of events) {
    if (event.type !== "connect-failed") continue;
    expect(event.error.code).toBe("PROTOCOL");
    expect(event.error.message).toContain("is this the TCP port of a broker?");
    break;
  }
  await consumer.close();
  server.stop(true);
});

test("what the give-up hook throws requeues the message", async () => {
  using broker = new RecordingBroker(["x"]);
  const failures: string[] = [];
  const consumer = consumerOf(broker, {
    maxAttempts: 1,
    backoff: false,
    onGiveUp: () => Promise.reject(new Error("no room for it")),
    onEvent: (event) => {
      if (event.type === "handler-failed") failures.push(event.error.message);
    },
  });
  void consumer.run(() => Promise.reject(new Error("always")));
  await until("the answer", () => broker.isDone && failures.length === 2);
  await consumer.close();
  expect(failures).toEqual(["always", "no room for it"]);
  expect(broker.commands).toEqual(["SUB", "RDY 10", "REQ", "CLS"]);
});

test("a dead letter is published before its message is finished, with a key where the broker knows keys", async () => {
  for (const idempotency of [false, true]) {
    using broker = new RecordingBroker(["x"], { features: { idempotency } });
    const consumer = consumerOf(broker, { maxAttempts: 1, backoff: false, deadLetterTopic: "dead" });
    void consumer.run(() => {
      throw new Error("always");
    });
    await until("the answer", () => broker.isDone);
    await consumer.close();
    const [publish = ""] = broker.commands.splice(2, 1);
    expect(publish).toMatch(idempotency ? /^PUB dead dead-t-c-\d+-0000000000000001$/ : /^PUB dead$/);
    expect(broker.commands).toEqual(["SUB", "RDY 10", "FIN", "CLS"]);
  }
});

test("a broker that refuses SUB is asked less and less often", async () => {
  using broker = new RecordingBroker([], { refusal: "E_SUB_FAILED SUB failed too many channel consumers" });
  const codes: (string | undefined)[] = [];
  const consumer = consumerOf(broker, {
    maxReconnectMs: 5_000,
    onEvent: (event) => {
      if (event.type === "disconnected") codes.push(event.error?.code);
    },
  });
  void consumer.run(() => {});
  // Attempts come after 0, 0.1, 0.3 and 0.7 s, each up to 30 % earlier.
  await Bun.sleep(600);
  await consumer.close();
  expect(codes.length).toBeWithin(1, 6);
  expect(new Set(codes)).toEqual(new Set(["E_SUB_FAILED"]));
});

test("max in flight can be changed, and zero stops", async () => {
  using broker = new RecordingBroker();
  const consumer = consumerOf(broker);
  void consumer.run(() => {});
  await consumer.ready();
  consumer.setMaxInFlight(0);
  consumer.setMaxInFlight(25);
  await until("the last RDY", () => broker.commands.at(-1) === "RDY 25");
  expect(broker.commands).toEqual(["SUB", "RDY 10", "RDY 0", "RDY 25"]);
  await consumer.close();
});

test("a consumer runs once", async () => {
  using broker = new RecordingBroker();
  const consumer = consumerOf(broker);
  void consumer.run(() => {});
  expect(() => consumer.run(() => {})).toThrow("a consumer runs once");
  await consumer.close();
  expect(() => consumer.run(() => {})).toThrow("closed");
  await expect(consumer.ready()).rejects.toMatchObject({ code: "CLOSED" });
});

test("a loop ends when the consumer is closed from elsewhere", async () => {
  using broker = new RecordingBroker(numbers(3));
  const consumer = consumerOf(broker);
  const seen: string[] = [];
  for await (const message of consumer) {
    seen.push(message.text());
    message.finish();
    void consumer.close();
  }
  expect(seen).toEqual(["0"]);
  await consumer.close();
  // The two that nobody has seen go back at once.
  expect(broker.commands.filter((command) => command === "REQ")).toHaveLength(2);
});

test("leaving a loop gives back what comes from then on, too", async () => {
  using broker = new RecordingBroker(["first"]);
  const consumer = consumerOf(broker);
  for await (const message of consumer) {
    message.finish();
    // It is on its way when the loop is left.
    broker.send(FRAME_TYPE_MESSAGE, `${"\0".repeat(9)}\x01${"0".repeat(16)}late`);
    break;
  }
  expect(broker.commands.at(-1)).toBe("REQ");
});

test("a secret is sent to a broker that asks for one, and not to others", async () => {
  for (const auth_required of [true, false]) {
    let bytes = "";
    const spying: Transport = {
      ...bunTransport,
      connect: (address, events) => {
        const socket = bunTransport.connect(address, events);
        const write = socket.write.bind(socket);
        socket.write = (piece) => {
          bytes += Buffer.from(piece).toString("latin1");
          return write(piece);
        };
        return socket;
      },
    };
    using broker = new RecordingBroker([], { features: { auth_required } });
    const consumer = consumerOf(broker, { authSecret: "open sesame", transport: spying });
    void consumer.run(() => {});
    await consumer.ready();
    expect(bytes.includes("AUTH\n\0\0\0\x0bopen sesame")).toBe(auth_required);
    await consumer.close();
  }
});
