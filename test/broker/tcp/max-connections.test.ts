import { expect, test } from "bun:test";
import { startHttp } from "../../../src/broker/http/server.ts";
import { InProcess } from "../../support/in-process.ts";

test("clients beyond --max-connections are refused, logged and counted, until another has left", async () => {
  await using brokers = InProcess.start({ maxConnections: 2, httpAddress: "127.0.0.1:0" });
  const first = await brokers.client();
  const second = await brokers.client();
  expect(await first.call("PUB t", "x")).toBe("OK");
  expect(await second.call("PUB t", "x")).toBe("OK");
  for (let refused = 1; refused <= 3; refused++) {
    const third = await brokers.client();
    expect((await third.next()).text).toBe("E_TOO_MANY_CONNECTIONS 2 clients are connected");
    await third.untilClosed();
    expect(
      brokers.log.matching(new RegExp(`refused client\\(127.*2 are connected, see -max-connections \\(${refused} refused`)),
    ).toHaveLength(1);
  }
  const http = startHttp(brokers.broker);
  const stats = (await (await fetch(`http://127.0.0.1:${http.port}/stats?format=json`)).json()) as { connections: object };
  expect(stats.connections).toEqual({ open: 2, refused: 3 });
  await http.stop();
  second.close();
  const { broker } = brokers;
  while (broker.listener.connections.size > 1) await new Promise((resolve) => setImmediate(resolve));
  const again = await brokers.client();
  expect(await again.call("PUB t", "x")).toBe("OK");
  expect(await first.call("PUB t", "x")).toBe("OK");
});
