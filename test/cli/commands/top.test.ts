import { afterAll, beforeAll, expect, test } from "bun:test";
import { missing, testUnless } from "../../support/needs.ts";
import { cleanEnvironment, type Server, startServer, until } from "../../support/server.ts";
import { commandLine, commandsAt } from "./support/cli.ts";

let server: Server;
let bunsq: ReturnType<typeof commandsAt>;

beforeAll(async () => {
  server = await startServer();
  bunsq = commandsAt(server);
  await server.http("POST", "/topic/create?topic=orders");
  await server.http("POST", "/channel/create?topic=orders&channel=billing");
  await server.http("POST", "/mpub?topic=orders", "a\nb\nc");
});
afterAll(() => server.stop());

test("prints plain rows into a pipe", async () => {
  const { code, stdout, stderr } = await bunsq("top", "--count=2", "--interval=100ms");
  expect([code, stderr]).toEqual([0, ""]);
  const looks = stdout.trimEnd().split("\n\n");
  expect(looks.length).toBe(2);
  for (const look of looks) {
    const [time = "", titles = "", , channel = ""] = look.split("\n");
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT/);
    expect(titles.split(/ +/)).toEqual(["TOPIC", "CHANNEL", "IN/S", "OUT/S", "DEPTH", "FLIGHT", "DEFERRED", "OLDEST", "CONSUMERS"]);
    expect(channel).toMatch(/^orders +billing +0 +0 +3 +0 +0 +[\d.]+s +0$/);
  }
  const { stdout: json } = await bunsq("top", "--count=1", "--json");
  expect(JSON.parse(json)).toMatchObject({
    rows: [
      { topic: "orders", channel: null },
      { channel: "billing", depth: 3, in_per_second: 0 },
    ],
  });
}, 60_000);

testUnless(missing("script", "sh"))(
  "draws a table on a terminal, sorts by keys, and leaves the terminal as it was",
  async () => {
    const line = commandLine("top", "--interval=100ms")
      .map((word) => `'${word}'`)
      .join(" ");
    const child = Bun.spawn(["script", "-qefc", `stty rows 20 cols 100; ${line}; echo "ended with $?"`, "/dev/null"], {
      env: { ...cleanEnvironment(), TERM: "xterm", BUNSQ_BROKER: `127.0.0.1:${server.httpPort}` },
      stdin: "pipe",
      stdout: "pipe",
    });
    let screen = "";
    const ended = (async () => {
      for await (const chunk of child.stdout) screen += Buffer.from(chunk).toString();
    })();
    await until("the table is drawn", () => screen.includes("billing"));
    expect(screen).toContain("\x1b[?1049h");
    expect(screen).toContain("by name");
    child.stdin.write("d");
    child.stdin.flush();
    await until("it is sorted by depth", () => screen.includes("by depth"));
    child.stdin.write("q");
    child.stdin.flush();
    await until("it has quit", () => screen.includes("ended with 0"));
    expect(screen.indexOf("\x1b[?1049l")).toBeGreaterThan(0);
    child.stdin.end();
    await child.exited;
    await ended;
  },
  60_000,
);

testUnless(missing("script", "sh"))(
  "what cannot be undone is asked on a terminal",
  async () => {
    const line = commandLine("topic", "delete", "orders")
      .map((word) => `'${word}'`)
      .join(" ");
    const ask = async (answer: string) => {
      const child = Bun.spawn(["script", "-qefc", `${line}; echo "ended with $?"`, "/dev/null"], {
        env: { ...cleanEnvironment(), TERM: "xterm", NO_COLOR: "1", BUNSQ_BROKER: `127.0.0.1:${server.httpPort}` },
        stdin: "pipe",
        stdout: "pipe",
      });
      let screen = "";
      const ended = (async () => {
        for await (const chunk of child.stdout) screen += Buffer.from(chunk).toString();
      })();
      await until("it asks", () => screen.includes("[y/N]"));
      child.stdin.write(answer);
      child.stdin.flush();
      await until("it has ended", () => screen.includes("ended with"));
      child.stdin.end();
      await child.exited;
      await ended;
      return screen;
    };
    const no = await ask("n\r");
    expect(no).toContain("delete topic orders with its channels and all messages at 127.0.0.1");
    expect(no).toContain("nothing was done");
    expect(no).toContain("ended with 1");
    expect((await bunsq("topics", "orders")).code).toBe(0);
    expect(await ask("y\r")).toContain("deleted topic orders");
    expect((await bunsq("topics", "orders")).code).toBe(1);
  },
  60_000,
);
