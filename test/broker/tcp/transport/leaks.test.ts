import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { clientTls, TLS_FLAGS } from "../../../support/certs/certs.ts";
import { compressDeflate, RawClient } from "../../../support/raw-client.ts";
import { type Server, startServer, until } from "../../../support/server.ts";

const CONNECTIONS = 10_000;
/** Memory is compared between this connection and the last one. Before it, pools and caches fill. */
const WARM_UP = 3000;
const CONCURRENT_PEERS = 40;

const BOMB = compressDeflate(Buffer.alloc(256 * 1024, "x"));
const GARBAGE_HELLO = Buffer.concat([Buffer.from("1603010040", "hex"), Buffer.alloc(64, 0x55)]);
const HALF_HELLO = Buffer.from("16030100c8010000c40303", "hex");

type Peer = (client: RawClient) => Promise<void>;

const negotiated = async (client: RawClient) => {
  await client.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, tls_v1: true }));
};
const sends =
  (bytes: Buffer): Peer =>
  async (client) => {
    client.onFrame = () => {};
    client.writeRaw(bytes);
    await client.untilClosed(20_000);
  };
const refused: Peer = async (client) => {
  await client.negotiate({ tls_v1: true }, clientTls("foreign")).then(
    () => {
      throw new Error("a peer with a foreign certificate was accepted");
    },
    () => {},
  );
  await client.untilClosed(20_000);
};
const afterLayer =
  (layers: object, then: Peer): Peer =>
  async (client) => {
    await client.negotiate({ ...layers });
    await then(client);
  };
const afterNegotiation =
  (then: Peer): Peer =>
  async (client) => {
    await negotiated(client);
    await then(client);
  };
const leaves: Peer = async (client) => client.terminate();

/** One in this many peers makes a complete handshake, which costs both sides far more than the other peers do. */
const REFUSED_EVERY = 40;
const PEERS: Peer[] = [
  afterNegotiation(sends(Buffer.from("PUB t\n"))),
  afterNegotiation(sends(GARBAGE_HELLO)),
  afterNegotiation(leaves),
  afterNegotiation(async (client) => {
    client.writeRaw(HALF_HELLO);
    client.terminate();
  }),
  afterLayer({ deflate: true }, sends(Buffer.from("ffffffff", "hex"))),
  afterLayer({ snappy: true }, sends(Buffer.from("0102030405", "hex"))),
  afterLayer({ deflate: true }, sends(BOMB)),
  afterLayer({ deflate: true }, leaves),
  afterLayer({ snappy: true }, leaves),
];

test(`${CONNECTIONS} bad peers leave neither connections nor memory behind, and a good peer is served all the time`, async () => {
  await using server = await startServer({
    args: [...TLS_FLAGS, "--tls-client-auth-policy=require-verify", `--tls-root-ca-file=${clientTls().caFile}`, "--tls-required=tcp-https"],
  });
  await server.http("PUT", "/config/log_level", "fatal");
  const good = await RawClient.connect(server.tcpPort);
  await good.negotiate({ tls_v1: true, deflate: true }, clientTls("client"));
  const filesBefore = openFiles(server);
  let begun = 0;
  let served = 0;
  const play = async (upTo: number) => {
    const runPeers = async () => {
      while (begun < upTo) {
        const number = begun++;
        const peer = number % REFUSED_EVERY === 0 ? refused : (PEERS[number % PEERS.length] as Peer);
        await peer(await RawClient.connect(server.tcpPort));
      }
    };
    const beside = async () => {
      while (begun < upTo) {
        expect(await good.call("PUB good", "x")).toBe("OK");
        served++;
        await Bun.sleep(20);
      }
    };
    await Promise.all([...Array.from({ length: CONCURRENT_PEERS }, runPeers), beside()]);
    await until("all connections are closed", () => openFiles(server) <= filesBefore, 20_000);
  };
  await play(WARM_UP);
  const warm = rssBytes(server);
  await play(CONNECTIONS);
  const growth = rssBytes(server) - warm;
  console.log(`${served} publishes beside them; ${Math.round(growth / 1e6)} MB more after ${CONNECTIONS} than after ${WARM_UP}`);
  // A leaked connection costs 10 to 300 KB: 7,000 of them would be at least 70 MB.
  expect(growth).toBeLessThan(48 * 1024 * 1024);
  good.close();
}, 120_000);

function openFiles({ process: child }: Server): number {
  return readdirSync(`/proc/${child.pid}/fd`).length;
}

function rssBytes({ process: child }: Server): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) * 1024;
}
