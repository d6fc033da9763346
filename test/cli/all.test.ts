import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cleanEnvironment, MAIN, type Running, type Server, startProcess, startServer, until } from "../support/server.ts";

/** A broker and a lookup server in one process, on ports that the system chooses. */
interface Both extends Running {
  broker: { tcp: number; http: number };
  lookup: { tcp: number; http: number };
}

const ANY_PORTS = ["tcp-address", "http-address", "lookup-tcp-address", "lookup-http-address", "admin-http-address"].map(
  (flag) => `--${flag}=127.0.0.1:0`,
);
const LOCAL = "--broadcast-address=127.0.0.1";

describe("a broker and a lookup server in one process", () => {
  let dataPath: string;
  let running: Running[];

  beforeEach(() => {
    dataPath = mkdtempSync(join(tmpdir(), "bunsq-all-"));
    running = [];
  });

  afterEach(async () => {
    for (const one of running) await one.stop("SIGKILL");
    rmSync(dataPath, { recursive: true, force: true });
  });

  const start = async (...args: string[]): Promise<Both> => {
    const started = await startProcess("bunsq", [process.execPath, MAIN, `--data-path=${dataPath}`, ...ANY_PORTS, LOCAL, ...args]);
    running.push(started);
    await until("both are up", () => / INFO: broker up: .*\n/.test(started.log()));
    const portsIn = (line: RegExp) => {
      const [, tcp, http] = line.exec(started.log()) ?? [];
      return { tcp: Number(tcp), http: Number(http) };
    };
    return {
      ...started,
      broker: portsIn(/^\[nsqd\] \S+ \S+ INFO: broker up: TCP 127\.0\.0\.1:(\d+), HTTP 127\.0\.0\.1:(\d+)$/m),
      lookup: portsIn(/^\[nsqlookupd\] \S+ \S+ INFO: lookup up: TCP 127\.0\.0\.1:(\d+), HTTP 127\.0\.0\.1:(\d+)$/m),
    };
  };
  const startBroker = async (...args: string[]): Promise<Server> => {
    const server = await startServer({ args: [LOCAL, ...args] });
    running.push(server);
    return server;
  };
  const nodes = async (lookup: { http: number }) => {
    const response = await fetch(`http://127.0.0.1:${lookup.http}/nodes`);
    return ((await response.json()) as { producers: { tcp_port: number; topics: string[] }[] }).producers;
  };

  test("log their addresses in a line each, and the broker is registered with its lookup server", async () => {
    const both = await start();
    expect(Math.min(both.broker.tcp, both.broker.http, both.lookup.tcp, both.lookup.http)).toBeGreaterThan(0);
    await fetch(`http://127.0.0.1:${both.broker.http}/pub?topic=greetings`, { method: "POST", body: "hello" });
    await until("the topic is known", async () => (await nodes(both.lookup))[0]?.topics.join() === "greetings");
    expect(await nodes(both.lookup)).toMatchObject([{ tcp_port: both.broker.tcp, http_port: both.broker.http }]);
    expect(both.log()).toMatch(/^\[nsqd\] .* INFO: LOOKUPD\(127\.0\.0\.1:\d+\): registered$/m);
  }, 30_000);

  test("begin with what runs, where and on which data, and log in the order of their time stamps", async () => {
    const both = await start("--durability=fsync");
    // Each server logs what the other one makes it do.
    for (let topic = 0; topic < 20; topic++)
      await fetch(`http://127.0.0.1:${both.broker.http}/pub?topic=t${topic}`, { method: "POST", body: "x" });
    await until("the topics are known", async () => (await nodes(both.lookup))[0]?.topics.length === 20);
    await both.stop();
    const lines = both.log().trimEnd().split("\n");
    expect(lines.slice(0, 3).map((line) => line.replace(/^\S+ \S+ \S+ /, ""))).toEqual([
      `INFO: bunsq v0.1.0 (built w/bun${Bun.version})`,
      `INFO: mode all: data path ${dataPath}; durability fsync; broker on TCP 127.0.0.1:0, HTTP 127.0.0.1:0; lookup server on TCP 127.0.0.1:0, HTTP 127.0.0.1:0; console on HTTP 127.0.0.1:0`,
      expect.stringMatching(/^INFO: ID: \d+$/),
    ]);
    const stamps = lines.map((line) => line.split(" ").slice(1, 3).join(" "));
    expect(stamps).toEqual(stamps.toSorted());
    // Microseconds that a clock does not know are zeros.
    expect(stamps.filter((stamp) => stamp.endsWith("000")).length).toBeLessThan(stamps.length / 4);
  }, 30_000);

  test("have a console that finds the broker, also if HTTP requests must name another host", async () => {
    for (const args of [[], ["--http-allowed-hosts=console.example"]]) {
      const both = await start(...args);
      const [, port] = /^\[nsqadmin\] \S+ \S+ INFO: HTTP: listening on 127\.0\.0\.1:(\d+)$/m.exec(both.log()) ?? [];
      const headers = args.length === 0 ? {} : { Host: "console.example" };
      const nodes = async () => (await fetch(`http://127.0.0.1:${port}/api/nodes`, { headers })).text();
      await until("the broker is found", async () => (await nodes()).includes(`"http_port":${both.broker.http},`));
      await both.stop();
    }
  }, 30_000);

  test("have a console, which says how to turn it off if its port is in use", async () => {
    const both = await start();
    const [, port] = /^\[nsqadmin\] \S+ \S+ INFO: HTTP: listening on 127\.0\.0\.1:(\d+)$/m.exec(both.log()) ?? [];
    expect(await (await fetch(`http://127.0.0.1:${port}/ping`)).text()).toBe("OK");
    const otherPath = mkdtempSync(join(tmpdir(), "bunsq-all-"));
    try {
      const command = [process.execPath, MAIN, `--data-path=${otherPath}`, ...ANY_PORTS, `--admin-http-address=127.0.0.1:${port}`];
      const { exitCode, stderr } = Bun.spawnSync(command, { stderr: "pipe" });
      expect(exitCode).toBe(1);
      expect(stderr.toString()).toMatch(
        / FATAL: console: cannot listen on .* choose another -admin-http-address\. To do without the console: --console=false\n/,
      );
      // The data path was not opened.
      expect(readdirSync(otherPath)).toEqual([]);
      const without = await start(`--data-path=${otherPath}`, `--admin-http-address=127.0.0.1:${port}`, "--console=false");
      expect(without.log()).not.toContain("[nsqadmin]");
    } finally {
      for (const one of running.splice(0)) await one.stop("SIGKILL");
      rmSync(otherPath, { recursive: true, force: true });
    }
  }, 30_000);

  test("serve other brokers, whose new topics get the channels that the topics have here", async () => {
    const both = await start();
    const other = await startBroker(`--lookupd-tcp-address=127.0.0.1:${both.lookup.tcp}`);
    await until("both are known", async () => (await nodes(both.lookup)).length === 2);
    const here = `http://127.0.0.1:${both.broker.http}`;
    await fetch(`${here}/topic/create?topic=orders`, { method: "POST" });
    await fetch(`${here}/channel/create?topic=orders&channel=mail`, { method: "POST" });
    await until("the channel is known", async () =>
      (await (await fetch(`http://127.0.0.1:${both.lookup.http}/channels?topic=orders`)).text()).includes("mail"),
    );
    await other.http("POST", "/pub?topic=orders", "first");
    await until("the channel is there", async () =>
      (await (await other.http("GET", "/stats?format=json&topic=orders")).text()).includes('"channel_name":"mail","depth":1'),
    );
  }, 30_000);

  test("register with other lookup servers too, and with their own only once", async () => {
    const first = await start();
    const otherPath = mkdtempSync(join(tmpdir(), "bunsq-all-"));
    try {
      const ports = { tcp: first.lookup.tcp, http: first.lookup.http };
      await first.stop();
      const again = await start(
        `--lookup-tcp-address=127.0.0.1:${ports.tcp}`,
        `--lookupd-tcp-address=127.0.0.1:${ports.tcp}`,
        `--lookupd-tcp-address=localhost:${ports.tcp}`,
      );
      const second = await start(`--data-path=${otherPath}`, `--lookupd-tcp-address=127.0.0.1:${again.lookup.tcp}`);
      await until(
        "the second is known to both",
        async () => (await nodes(again.lookup)).length === 2 && (await nodes(second.lookup)).length === 1,
      );
      // The list of other lookup servers can be changed at run time. The broker's own stays.
      await fetch(`http://127.0.0.1:${second.broker.http}/config/nsqlookupd_tcp_addresses`, { method: "PUT", body: "[]" });
      await until("the second has left the first", async () => (await nodes(again.lookup)).length === 1);
      expect(await nodes(second.lookup)).toHaveLength(1);
    } finally {
      for (const one of running.splice(0)) await one.stop("SIGKILL");
      rmSync(otherPath, { recursive: true, force: true });
    }
  }, 30_000);

  test("end together and cleanly on SIGINT", async () => {
    const both = await start();
    await until("it is registered", async () => (await nodes(both.lookup)).length === 1);
    expect(await both.stop("SIGINT")).toBe(0);
    const log = both.log();
    for (const line of ["NSQ: bye", `TCP: closing 127.0.0.1:${both.lookup.tcp}`, `HTTP: closing 127.0.0.1:${both.lookup.http}`]) {
      expect(log).toContain(` INFO: ${line}\n`);
    }
    expect(log).not.toMatch(/ (WARNING|ERROR|FATAL): /);
  }, 30_000);

  test("share a broadcast address and a log level, unless the lookup server is given its own", async () => {
    const both = await start("--broadcast-address=broker.example");
    const other = await startBroker(`--lookupd-tcp-address=127.0.0.1:${both.lookup.tcp}`);
    await until("the other is told", () => other.log().includes("BroadcastAddress:broker.example}"));
    await both.stop();
    const ports = [both.broker.tcp, both.broker.http, both.lookup.tcp, both.lookup.http];
    const addresses = ["tcp-address", "http-address", "lookup-tcp-address", "lookup-http-address"].map(
      (flag, i) => `--${flag}=127.0.0.1:${ports[i]}`,
    );
    const command = [
      process.execPath,
      MAIN,
      `--data-path=${dataPath}`,
      "--broadcast-address=127.0.0.1",
      "--log-level=error",
      "--admin-http-address=127.0.0.1:0",
      ...addresses,
    ];
    const quiet = Bun.spawn(command, { stderr: "pipe", env: cleanEnvironment() });
    try {
      await until("it is up", async () => (await nodes(both.lookup).catch(() => [])).length === 2);
    } finally {
      quiet.kill();
      await quiet.exited;
    }
    expect(await new Response(quiet.stderr).text()).toBe("");
  }, 30_000);

  test("say what to do if the lookup server's port is in use, and leave nothing open", async () => {
    const both = await start();
    const command = [process.execPath, MAIN, `--data-path=${dataPath}`, ...ANY_PORTS, `--lookup-tcp-address=127.0.0.1:${both.lookup.tcp}`];
    const { exitCode, stderr } = Bun.spawnSync(command, { stderr: "pipe" });
    expect(exitCode).toBe(1);
    expect(stderr.toString()).toMatch(
      / FATAL: lookup: cannot listen on 127\.0\.0\.1:\d+: .* choose another -lookup-tcp-address\. To use a lookup server that is already running: --mode=broker --lookupd-tcp-address=<addr>:<port>\n$/,
    );
  }, 30_000);
});
