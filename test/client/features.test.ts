import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as client from "../../src/client/bun.ts";
import { bunTransport } from "../../src/client/transports/bun.ts";
import { nodeTransport } from "../../src/client/transports/node.ts";
import { AuthServer, granted } from "../support/auth-server.ts";
import { InProcess, removeFolder, temporaryFolder } from "../support/in-process.ts";
import { describeUnless, missing } from "../support/needs.ts";
import { trafficScenarios } from "./suite/scenarios.ts";
import { CONNECTIONS, STRICT_FLAGS, tls } from "./support/connections.ts";
import { type Stand, startStand } from "./support/stand.ts";

for (const program of ["bunsq", "nsqd"] as const) {
  const describeHere = program === "bunsq" ? describe : describeUnless(missing("nsqd", "nsqlookupd"));
  describeHere(`at ${program}`, () => {
    /** It wants TLS from everybody. */
    let strict: Stand;
    let plain: Stand;
    beforeAll(async () => {
      strict = await startStand(program, STRICT_FLAGS);
      plain = await startStand(program);
    });
    afterAll(async () => {
      await strict[Symbol.asyncDispose]();
      await plain[Symbol.asyncDispose]();
    });

    for (const [kind, transport] of [
      ["Bun", bunTransport],
      ["Node", nodeTransport],
    ] as const) {
      for (const [layers, options] of Object.entries(CONNECTIONS)) {
        for (const [name, play] of trafficScenarios) {
          test(
            `${name}: ${layers}, with the sockets of ${kind}`,
            () => play({ client, connection: { ...options, transport }, ...(options.tls === undefined ? plain : strict).addresses }),
            30_000,
          );
        }
      }

      test(`a broker whose certificate is not trusted is refused, with the sockets of ${kind}`, async () => {
        const error = await failure(strict, { tls: { cert: tls.cert, key: tls.key }, transport });
        expect(error.code).toBe("TLS_FAILED");
      });

      test(`a broker whose certificate has another name is refused, with the sockets of ${kind}`, async () => {
        const error = await failure(strict, { tls: { ...tls, serverName: "other.example" }, transport });
        expect(error.code).toBe("TLS_FAILED");
      });

      test(`a client without a certificate is told so, with the sockets of ${kind}`, async () => {
        const error = await failure(strict, { tls: { ca: tls.ca, serverName: "127.0.0.1" }, transport });
        expect(["TLS_FAILED", "E_IDENTIFY_FAILED", "CONNECT_FAILED"]).toContain(error.code);
      });
    }
  });
}

test("a broker that does not offer TLS is refused", async () => {
  await using stand = await startStand("bunsq");
  const error = await failure(stand, { tls: true });
  expect(error.code).toBe("TLS_REFUSED");
  expect(error.broker).toBe(stand.addresses.tcp);
});

test("with a secret a client may do what its auth server says", async () => {
  await using auth = new AuthServer(({ fields }) =>
    fields.secret === "open sesame"
      ? granted([{ topic: "^mine$", channels: [".*"], permissions: ["publish", "subscribe"] }])
      : new Response("", { status: 403 }),
  );
  await using stand = await startStand("bunsq", [`--auth-http-address=${auth.address}`]);
  const brokers = [stand.addresses.tcp];
  await using producer = new client.Producer({ brokers, authSecret: "open sesame" });
  await producer.publish("mine", "x");
  await expect(producer.publish("yours", "x")).rejects.toMatchObject({ name: "BrokerError", code: "E_UNAUTHORIZED" });
  for await (const message of new client.Consumer({ brokers, topic: "mine", channel: "c", authSecret: "open sesame" })) {
    expect(message.text()).toBe("x");
    message.finish();
    break;
  }
  const error = await failure(stand, { authSecret: "wrong" });
  expect([error.code, error.command]).toEqual(["E_AUTH_FAILED", "AUTH"]);
});

for (const [kind, transport] of [
  ["Bun", bunTransport],
  ["Node", nodeTransport],
] as const) {
  test(`a broker on a unix socket is reached, with the sockets of ${kind}`, async () => {
    const folder = temporaryFolder();
    await using server = InProcess.start({ tcpAddress: join(folder, "broker.sock") });
    const brokers = [join(folder, "broker.sock")];
    await using producer = new client.Producer({ brokers, transport });
    await producer.publish("t", "x");
    for await (const message of new client.Consumer({ brokers, topic: "t", channel: "c", transport })) {
      expect([message.text(), message.broker]).toEqual(["x", brokers[0] as string]);
      message.finish();
      break;
    }
    expect(server.broker.registry.topic("t").channel("c").depth).toBe(0);
    removeFolder(folder);
  });
}

/** The first error of a producer that cannot connect. */
async function failure(stand: Stand, connection: client.ConnectionOptions): Promise<client.ClientError> {
  await using producer = new client.Producer({ brokers: [stand.addresses.tcp], ...connection });
  for await (const event of producer.events()) {
    if (event.type === "connected") throw new Error("connected");
    if (event.type === "connect-failed") return event.error;
  }
  throw new Error("no event came");
}
