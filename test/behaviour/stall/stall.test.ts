import { expect, test } from "bun:test";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import { againAfterStalls } from "../../support/stall-monitor.ts";
import { WithHttp } from "../../support/with-http.ts";
import { requestBytes } from "../differential/support/http-wire.ts";

const MESSAGES = 200;

interface ChannelStats {
  depth: number;
  in_flight_count: number;
  timeout_count: number;
  clients: unknown[];
}

async function channelOf(server: Server): Promise<ChannelStats> {
  const stats = (await (await server.http("GET", "/stats?format=json")).json()) as { topics: { channels: ChannelStats[] }[] };
  return stats.topics[0].channels[0];
}

test(
  "a broker that stood still reads what has arrived before a message times out or a client is given up",
  () =>
    againAfterStalls(async () => {
      await using server = await startServer({ args: ["--msg-timeout=1s"] });
      const consumer = await RawClient.connect(server.tcpPort);
      await consumer.call("IDENTIFY", JSON.stringify({ heartbeat_interval: 1000 }));
      await consumer.call("SUB t c");
      consumer.command(`RDY ${MESSAGES}`);
      const publisher = await RawClient.connect(server.tcpPort);
      publisher.mpub(
        "t",
        Array.from({ length: MESSAGES }, (_, i) => `${i}`),
      );
      expect(await publisher.response()).toBe("OK");
      const ids: string[] = [];
      while (ids.length < MESSAGES) ids.push((await consumer.message()).id);

      server.process.kill("SIGSTOP");
      for (const id of ids) consumer.command(`FIN ${id}`);
      // Longer than messages have, and than clients that get no heartbeats may be silent.
      await Bun.sleep(3500);
      server.process.kill("SIGCONT");

      await until("all messages are finished", async () => (await channelOf(server)).in_flight_count === 0);
      const heartbeats = consumer.heartbeats;
      await until("the consumer gets heartbeats again", () => consumer.heartbeats >= heartbeats + 3);
      const channel = await channelOf(server);
      expect([channel.depth, channel.timeout_count, channel.clients.length]).toEqual([0, 0, 1]);
      expect(consumer.frames.map(({ text }) => text)).toEqual([]);
      expect(server.log()).toContain("what clients sent is read before anything times out");
    }),
  60_000,
);

test("an upload that arrives while the event loop is held is not too slow", async () => {
  await using http = WithHttp.start({}, { slowBodyMs: 1000 });
  for (const headers of [[], ["X-NSQ-Anything: 1"]]) {
    const socket = await http.socket();
    const request = requestBytes("POST", "/pub?topic=t", "x".repeat(5000), headers);
    socket.write(request.subarray(0, 1000));
    await http.settle();
    socket.write(request.subarray(1000));
    Bun.sleepSync(3500);
    expect((await socket.until((bytes) => bytes.length > 0)).toString()).toStartWith("HTTP/1.1 200 ");
  }
  expect(http.depth("t")).toBe(2);
}, 20_000);
