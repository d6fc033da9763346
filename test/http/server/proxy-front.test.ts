import { expect, test } from "bun:test";
import { DescriptorBudget } from "../../../src/base/descriptor-budget.ts";
import { httpLimits } from "../../../src/http/server/load.ts";
import { ProxyFront } from "../../../src/http/server/proxy-front.ts";
import { ByteSocket } from "../../behaviour/differential/support/byte-socket.ts";
import { until } from "../../support/server.ts";

const logger = { error: () => {} };

function services(limit: number) {
  const descriptors = new DescriptorBudget(limit);
  const http = descriptors.share();
  return { logger, rateLimitedLog: logger, options: { maxHttpConnections: 0 }, descriptors, clientDescriptors: { http } };
}

test("a client whose request has come is not the idle one that makes room for it: it is told that there is none", async () => {
  const front = new ProxyFront(services(2), httpLimits({}), "127.0.0.1:0", "http-address");
  // The proxy would need two more descriptors beside the client's.
  const answer = await fetch(`http://127.0.0.1:${front.port}/ping`).then(
    ({ status }) => status,
    (error: Error) => error.message,
  );
  front.abort();
  expect(answer).toBe(503);
});

test("a client that speaks TLS is turned away without a word, whether it has sent something or not", async () => {
  // There is room for its socket, but not for the proxy's; or not even for that.
  for (const limit of [2, 0]) {
    const front = new ProxyFront(services(limit), httpLimits({}), "127.0.0.1:0", "https-address", "tls");
    const client = await ByteSocket.connect(front.port);
    client.write("\x16\x03\x01");
    expect((await client.untilEnd()).toString()).toBe("");
    expect(client.ended).toBe(true);
    front.abort();
    client.destroy();
  }
});

test("fronts that share their connections make room for each other's clients", async () => {
  const parts = services(2);
  const front = new ProxyFront(parts, httpLimits({}), "127.0.0.1:0", "http-address");
  const secure = new ProxyFront({ ...parts, connections: front.connections }, httpLimits({}), "127.0.0.1:0", "https-address", "tls");
  const idle = await ByteSocket.connect(front.port);
  await until("it is accepted", () => front.connections.open === 1);
  const client = await ByteSocket.connect(secure.port);
  await idle.untilEnd();
  expect(idle.ended).toBe(true);
  expect(front.connections.openBy).toEqual({ tcp: 0, tls: 1, unix: 0 });
  front.abort();
  secure.abort();
  client.destroy();
});
