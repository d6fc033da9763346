import { expect, test } from "bun:test";
import { RawClient } from "../../support/raw-client.ts";
import { startServer, until } from "../../support/server.ts";
import { againAfterStalls } from "../../support/stall-monitor.ts";

/** Longer than the message timeout and two heartbeat intervals. */
const STOPPED_MS = 3500;

test(
  "a broker that was stopped and goes on reads what came meanwhile before it cuts clients or lets messages time out",
  () =>
    againAfterStalls(async () => {
      const server = await startServer({ program: "bunsq" });
      const consumer = await RawClient.connect(server.tcpPort);
      try {
        await consumer.call("IDENTIFY", '{"heartbeat_interval":1000,"msg_timeout":1500}');
        await consumer.call("SUB t c");
        consumer.command("RDY 10");
        // It answers heartbeats, and gets none while the broker is stopped.
        const idle = await RawClient.connect(server.tcpPort);
        await idle.call("IDENTIFY", '{"heartbeat_interval":1000}');
        const producer = await RawClient.connect(server.tcpPort);
        for (let i = 0; i < 10; i++) producer.command("PUB t", `${i}`);
        const ids: string[] = [];
        while (ids.length < 10) ids.push((await consumer.message()).id);
        process.kill(server.process.pid, "SIGSTOP");
        for (const id of ids) consumer.command(`FIN ${id}`);
        await Bun.sleep(STOPPED_MS);
        process.kill(server.process.pid, "SIGCONT");
        const channel = async () => {
          const { topics } = (await (await server.http("GET", "/stats?format=json")).json()) as {
            topics: { channels: { [key: string]: unknown }[] }[];
          };
          return topics[0]?.channels[0] ?? {};
        };
        await until("the messages are finished", async () => (await channel()).in_flight_count === 0);
        expect(await channel()).toMatchObject({ depth: 0, timeout_count: 0, requeue_count: 0, client_count: 1 });
        const heartbeats = idle.heartbeats;
        await until("two heartbeats more", () => idle.closed || idle.heartbeats >= heartbeats + 2);
        expect([consumer.closed, idle.closed]).toEqual([false, false]);
        idle.terminate();
        producer.terminate();
      } finally {
        process.kill(server.process.pid, "SIGCONT");
        consumer.terminate();
        await server.stop();
      }
    }),
  60_000,
);
