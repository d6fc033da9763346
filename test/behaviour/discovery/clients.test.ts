import { afterAll, beforeAll, describe, expect } from "bun:test";
import { startLookupServer } from "../../support/lookup.ts";
import { testUnless } from "../../support/needs.ts";
import { type Running, type Server, startServer, until } from "../../support/server.ts";
import type { Client } from "../interop/support/clients.ts";
import { Follower, prepareClients } from "./support/follower.ts";

const MESSAGES = 200;
const clients = await prepareClients("nsqjs", "go-nsq", "pynsq");

describe("a consumer that asks our lookup server", () => {
  let lookup: Running;
  let brokers: Server[];

  const start = () => startServer({ args: ["--broadcast-address=127.0.0.1", `--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`] });
  const publish = async (broker: Server, name: string) => {
    const bodies = Array.from({ length: MESSAGES }, (_, i) => `${name} ${i}`);
    expect((await broker.http("POST", "/mpub?topic=found", bodies.join("\n"))).status).toBe(200);
    return bodies;
  };

  beforeAll(async () => {
    lookup = await startLookupServer();
    brokers = await Promise.all([start(), start()]);
  }, 60_000);

  afterAll(async () => {
    await Promise.all((brokers ?? []).map((broker) => broker.stop()));
    await lookup?.stop();
  });

  for (const { name, prepared } of clients) {
    testUnless(typeof prepared === "string" ? prepared : undefined)(
      `with ${name} finds the brokers of its topic, also one that starts later`,
      async () => {
        const client = prepared as Client;
        const sent = [...(await publish(brokers[0], `${client.name} first`)), ...(await publish(brokers[1], `${client.name} second`))];
        const follower = new Follower(client, [`127.0.0.1:${lookup.httpPort}`], "found", client.name);
        let late: Server | undefined;
        try {
          // The channel of a later client starts after the messages of the first one: only messages from now on count.
          for (const broker of brokers) {
            await until(`${client.name} has its channel`, async () => {
              const stats = await (await broker.http("GET", `/stats?format=json&topic=found&channel=${client.name}`)).text();
              return stats.includes('"client_count":1');
            });
          }
          sent.push(...(await publish(brokers[0], `${client.name} third`)), ...(await publish(brokers[1], `${client.name} fourth`)));
          late = await start();
          sent.push(...(await publish(late, `${client.name} fifth`)));
          const wanted = name === clients[0]?.name ? sent : sent.slice(2 * MESSAGES);
          await until(`${client.name} has got all`, () => wanted.every((body) => follower.received.has(body)), 20_000);
        } catch (error) {
          throw new Error(`${(error as Error).message}\n${follower.complaints}`);
        } finally {
          await follower.stop();
          await late?.stop();
        }
      },
      60_000,
    );
  }
});
