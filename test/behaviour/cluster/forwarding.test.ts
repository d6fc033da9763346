import { expect, test } from "bun:test";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 60_000;

/** The bodies of a topic's messages, as the leader's channel `c` delivers them. */
async function consume(port: number, count: number, topic = TOPIC): Promise<string[]> {
  const client = await RawClient.connect(port);
  expect(await client.call(`SUB ${topic} c`)).toBe("OK");
  client.command("RDY 100");
  const bodies: string[] = [];
  while (bodies.length < count) {
    const { id, data } = await client.message();
    bodies.push(data.toString());
    client.command(`FIN ${id}`);
  }
  client.close();
  return bodies;
}

/** The text of the answer to a command, an error or none. */
async function ask(client: RawClient, line: string, body?: string): Promise<string> {
  client.command(line, body);
  return (await client.next()).text;
}

function mpubBody(...bodies: string[]): Buffer {
  const parts = bodies.map((body) => {
    const part = Buffer.alloc(4 + body.length);
    part.writeUInt32BE(body.length);
    part.write(body, 4);
    return part;
  });
  const count = Buffer.alloc(4);
  count.writeUInt32BE(bodies.length);
  return Buffer.concat([count, ...parts]);
}

describeUnless(missing("etcd"))("publishes at brokers that do not lead", () => {
  test(
    "each kind of publish over TCP and HTTP is passed on, also to a topic that nobody has yet",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const first = await RawClient.connect(cluster.broker(0).tcpPort);
      expect(await first.call(`PUB ${TOPIC}`, "made")).toBe("OK");
      const leader = await cluster.leader();
      const [other] = [0, 1, 2].filter((index) => index !== leader);
      const { tcpPort, httpPort } = cluster.broker(other as number);
      const client = await RawClient.connect(tcpPort);
      const answers = ["1", "2", "3"].map((body) => client.call(`PUB ${TOPIC}`, body));
      expect(await Promise.all(answers)).toEqual(["OK", "OK", "OK"]);
      expect(await client.call(`MPUB ${TOPIC}`, mpubBody("4", "5"))).toBe("OK");
      expect(await client.call(`DPUB ${TOPIC} 1`, "deferred")).toBe("OK");
      const post = async (path: string, body: string | Buffer) => {
        const response = await fetch(`http://127.0.0.1:${httpPort}${path}`, { method: "POST", body });
        return `${response.status} ${await response.text()}`;
      };
      expect(await post(`/pub?topic=${TOPIC}`, "6")).toBe("200 OK");
      expect(await post(`/mpub?topic=${TOPIC}`, "7\n8")).toBe("200 OK");
      expect(await post(`/mpub?topic=${TOPIC}&binary=true`, mpubBody("9"))).toBe("200 OK");
      expect(await post(`/pub?topic=${TOPIC}&defer=1`, "deferred too")).toBe("200 OK");
      expect(await post(`/pub_ext?topic=${TOPIC}&ext={"a":"b"}`, "10")).toBe("200 OK");
      expect(await post(`/pub?topic=${TOPIC}&partition=3`, "no")).toBe('404 {"message":"PARTITION_NOT_FOUND"}');
      const bodies = await consume(cluster.broker(leader).tcpPort, 13);
      expect(bodies.sort()).toEqual(["1", "10", "2", "3", "4", "5", "6", "7", "8", "9", "deferred", "deferred too", "made"]);
      first.close();
      client.close();
    },
    LIMIT_MS,
  );

  test(
    "SUB there says where the topic is consumed from",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const client = await RawClient.connect(cluster.broker(0).tcpPort);
      expect(await client.call(`PUB ${TOPIC}`, "made")).toBe("OK");
      const leader = await cluster.leader();
      const [other] = [0, 1, 2].filter((index) => index !== leader);
      await cluster.untilFollows(other as number, leader);
      const consumer = await RawClient.connect(cluster.broker(other as number).tcpPort);
      const { tcpPort } = cluster.broker(leader);
      expect(await ask(consumer, `SUB ${TOPIC} c`)).toBe(
        `E_SUB_FAILED SUB failed this broker leads no partition of topic ${TOPIC}; it is consumed from 127.0.0.1:${tcpPort}`,
      );
      client.close();
      consumer.close();
    },
    LIMIT_MS,
  );

  test(
    "a producer at one broker goes on while the leader is killed, and loses nothing that was acknowledged",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const maker = await RawClient.connect(cluster.broker(0).tcpPort);
      expect(await maker.call(`PUB ${TOPIC}`, "made")).toBe("OK");
      const leader = await cluster.leader();
      await cluster.untilInSync(leader);
      const others = [0, 1, 2].filter((index) => index !== leader);
      const { tcpPort } = cluster.broker(others[0] as number);
      const acknowledged: string[] = [];
      let refused = 0;
      const publishOne = async (body: string) => {
        const client = await RawClient.connect(tcpPort);
        const answer = await ask(client, `PUB ${TOPIC}`, body);
        if (answer === "OK") acknowledged.push(body);
        else {
          refused++;
          expect(answer).toContain("E_PUB_FAILED PUB failed");
        }
        client.close();
      };
      for (let i = 0; i < 20; i++) await publishOne(`before${i}`);
      const killed = cluster.broker(leader).stop("SIGKILL");
      for (let i = 0; i < 20; i++) await publishOne(`after${i}`);
      await killed;
      // What was under way may have been refused. Everything else waited for the next leader.
      expect(refused).toBeLessThanOrEqual(1);
      const next = await cluster.leader(others);
      await until("another one leads", () => next !== leader);
      const bodies = await consume(cluster.broker(next).tcpPort, acknowledged.length + 1);
      for (const body of acknowledged) expect(bodies).toContain(body);
      maker.close();
    },
    LIMIT_MS,
  );

  test(
    "the leader is stopped in order, and no producer at another broker is refused anything",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const maker = await RawClient.connect(cluster.broker(0).tcpPort);
      expect(await maker.call(`PUB ${TOPIC}`, "made")).toBe("OK");
      const leader = await cluster.leader();
      await cluster.untilInSync(leader);
      const others = [0, 1, 2].filter((index) => index !== leader);
      let isStopped = false;
      let count = 1;
      const publishSome = async (index: number) => {
        const client = await RawClient.connect(cluster.broker(index).tcpPort);
        for (let after = 0; after < 20; after += isStopped ? 1 : 0) {
          expect(await client.call(`PUB ${TOPIC}`, `${index} ${count}`)).toBe("OK");
          count++;
        }
        client.close();
      };
      const publishing = others.map(publishSome);
      await until("some are published", () => count > 100);
      await cluster.broker(leader).stop("SIGTERM");
      isStopped = true;
      await Promise.all(publishing);
      const next = await cluster.leader(others);
      expect((await consume(cluster.broker(next).tcpPort, count)).length).toBe(count);
      maker.terminate();
    },
    LIMIT_MS,
  );

  test(
    "a publish with an idempotency key is there once, however often it is repeated, at any broker and after a fail-over",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const clients: RawClient[] = [];
      for (const { tcpPort } of cluster.brokers) {
        const client = await RawClient.connect(tcpPort);
        expect(await client.negotiate({ idempotency: true })).toMatchObject({ idempotency: true });
        clients.push(client);
      }
      const publish = (index: number, name: string) => ask(clients[index] as RawClient, `PUB ${TOPIC} key-${name}`, name);
      for (const index of [0, 1, 2]) expect(await publish(index, "first")).toBe("OK");
      const leader = await cluster.leader();
      await cluster.untilInSync(leader);
      const others = [0, 1, 2].filter((index) => index !== leader);
      for (let i = 0; i < 50; i++) expect(await publish(i % 3, `${i}`)).toBe("OK");
      await cluster.broker(leader).stop("SIGKILL");
      for (let i = 0; i < 50; i++) expect(await publish(others[i % 2] as number, `${i}`)).toBe("OK");
      expect(await publish(others[0] as number, "last")).toBe("OK");
      const next = await cluster.leader(others);
      const bodies = await consume(cluster.broker(next).tcpPort, 52);
      expect(bodies.sort()).toEqual(["first", "last", ...Array.from({ length: 50 }, (_, i) => `${i}`)].sort());
      for (const client of clients) client.terminate();
    },
    LIMIT_MS,
  );

  test(
    "without --cluster-forward they are refused with where the leader is",
    async () => {
      await using cluster = await ThreeBrokers.start(["--cluster-forward=false"]);
      const maker = await RawClient.connect(cluster.broker(0).tcpPort);
      await ask(maker, `SUB ${TOPIC} c`);
      const leader = await cluster.leader();
      const [other] = [0, 1, 2].filter((index) => index !== leader);
      await cluster.untilFollows(other as number, leader);
      const client = await RawClient.connect(cluster.broker(other as number).tcpPort);
      const where = `the broker at 127.0.0.1:${cluster.broker(leader).tcpPort} leads partition 0 of topic ${TOPIC}`;
      expect(await ask(client, `PUB ${TOPIC}`, "x")).toBe(`E_PUB_FAILED PUB failed ${where}`);
      const response = await fetch(`http://127.0.0.1:${cluster.broker(other as number).httpPort}/pub?topic=${TOPIC}`, {
        method: "POST",
        body: "x",
      });
      expect([response.status, await response.json()]).toEqual([503, { message: where }]);
      maker.close();
      client.close();
    },
    LIMIT_MS,
  );
});
