import { afterEach, expect } from "bun:test";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { testUnless } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import { FailingCalls, whyNoStrace } from "./support/strace.ts";

// A sample of the table on the program itself: the kernel's calls fail, SQLite's too.

const TOPICS = ["victim", "other", "j1", "j2", "j3", "j4", "j5"];

interface Sample {
  files: RegExp;
  calls: readonly string[];
  error: string;
  /** Topics whose publishes may be refused meanwhile. */
  refuses: readonly string[];
  /** Deferred publishes may be. */
  refusesDeferred?: true;
  /** Any publish may be that comes in the turn in which the first deferred message cannot join its log. */
  refusesFirst?: true;
}

const SAMPLES: readonly Sample[] = [
  { files: /-victim\/.*\.log$/, calls: ["pwrite64"], error: "ENOSPC", refuses: ["victim"] },
  { files: /-victim\/.*\.idx$/, calls: ["pwrite64"], error: "EIO", refuses: ["victim"] },
  { files: /catalogue\.sqlite/, calls: ["pwrite64"], error: "EIO", refuses: [] },
  { files: /catalogue\.sqlite/, calls: ["pread64", "fdatasync", "fsync"], error: "EIO", refuses: [] },
  { files: /journal$/, calls: ["pwrite64"], error: "ENOSPC", refuses: [] },
  { files: /deferred\/.*\.msg$/, calls: ["pwrite64", "pread64"], error: "EIO", refuses: [], refusesDeferred: true },
  { files: /deferred\/.*\.done$/, calls: ["pwrite64"], error: "EROFS", refuses: [], refusesDeferred: true, refusesFirst: true },
  { files: /topics$|topics\/catalogue\.copy$/, calls: ["rename", "openat"], error: "EACCES", refuses: [] },
  { files: /recycled|ballast|keys/, calls: ["rename", "unlink", "openat"], error: "EROFS", refuses: [] },
];

let server: Server | undefined;
const dataPath = temporaryFolder();
afterEach(async () => {
  await server?.stop("SIGKILL");
  removeFolder(dataPath);
});

/** Publishes to each topic, at once and deferred. @returns which were refused */
async function publish(broker: Server, acknowledged: Set<string>, number: number): Promise<string[]> {
  const publishes = TOPICS.flatMap((topic) => ["", "&defer=400", "&defer=70000"].map((how) => ({ topic, how })));
  const refused = await Promise.all(
    publishes.map(async ({ topic, how }) => {
      const body = `${number} ${topic}${how}`;
      const { status } = await broker.http("POST", `/pub?topic=${topic}${how}`, body);
      if (status === 200 && !how.includes("70000")) acknowledged.add(body);
      return status === 200 ? [] : [how === "" ? topic : `${topic} deferred`];
    }),
  );
  return refused.flat();
}

/** Reads all messages of all topics until those are there. */
async function consume(broker: Server, acknowledged: ReadonlySet<string>): Promise<string[]> {
  const bodies: string[] = [];
  const clients = await Promise.all(
    TOPICS.map(async (topic) => {
      const client = await RawClient.connect(broker.tcpPort);
      client.onFrame = ({ type, id, text }) => {
        if (type !== "message") return;
        bodies.push(text);
        client.command(`FIN ${id}`);
      };
      client.command(`SUB ${topic} c`);
      client.command("RDY 2500");
      return client;
    }),
  );
  try {
    const missing = () => [...acknowledged].filter((body) => !bodies.includes(body));
    await until("all that was acknowledged comes", () => missing().length === 0).catch((error) => {
      throw new Error(`${error.message}: ${missing().join("; ")}`);
    });
  } finally {
    for (const client of clients) client.close();
  }
  return bodies;
}

testUnless(whyNoStrace())(
  "the program loses nothing that it acknowledged while the kernel's calls fail, goes on by itself, and starts again after a kill",
  async () => {
    const acknowledged = new Set<string>();
    server = await startServer({ dataPath, args: ["--max-bytes-per-file=65536"] });
    let number = 0;
    for (const topic of TOPICS) {
      await server.http("POST", `/topic/create?topic=${topic}`);
      await server.http("POST", `/channel/create?topic=${topic}&channel=c`);
    }
    expect(await publish(server, acknowledged, number++)).toEqual([]);
    const broker = server;
    for (const { files, calls, error, refuses, refusesDeferred, refusesFirst } of SAMPLES) {
      {
        await using _ = await FailingCalls.begin(broker, calls, error, files);
        const isAllowed = (what: string) => (what.endsWith("deferred") ? refusesDeferred === true : refuses.includes(what));
        const rounds: string[][] = [];
        for (let round = 0; round < 4; round++) {
          const refused = (await publish(broker, acknowledged, number++)).filter((what) => !isAllowed(what));
          if (refused.length > 0) rounds.push(refused);
        }
        // When the first deferred message falls due, no clock here tells.
        if (refusesFirst === true) rounds.shift();
        expect([`${files}`, ...rounds]).toEqual([`${files}`]);
      }
      await until(`${files}: it goes on`, async () => (await publish(broker, acknowledged, number++)).length === 0);
      await until(`${files}: it is well`, async () => (await (await broker.http("GET", "/ping")).text()) === "OK");
    }
    await broker.stop("SIGKILL");
    server = await startServer({ dataPath });
    const bodies = await consume(server, acknowledged);
    expect(new Set(bodies).size).toBe(bodies.length);
    expect(bodies.filter((body) => !acknowledged.has(body))).toEqual([]);
    // The metadata store fails while it stops: it stops all the same, and nothing is lost.
    await publish(server, acknowledged, number++);
    {
      await using _ = await FailingCalls.begin(server, ["pwrite64", "fdatasync", "fsync", "unlink"], "EIO", /./);
      expect(await server.stop()).toBe(0);
    }
    server = await startServer({ dataPath });
    await consume(server, new Set([...acknowledged].filter((body) => !bodies.includes(body))));
  },
  60_000,
);
