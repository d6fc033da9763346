import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDiskqueue } from "../../src/nsqd-data/diskqueue-writer.ts";
import { writeNsqdMetadata } from "../../src/nsqd-data/nsqd-metadata.ts";
import { message, payload } from "../nsqd-data/support/queue-fixture.ts";
import { missing, testUnless } from "../support/needs.ts";
import { RawClient } from "../support/raw-client.ts";
import { cleanEnvironment, type Server, startProcess, startServer, until } from "../support/server.ts";

const ROOT = join(import.meta.dir, "../..");
const MAIN = join(ROOT, "src/main.ts");

/** Starts the program from source, with a module loaded before it that causes a fault which cannot be caused from outside. */
function startWith(preload: string, dataPath: string): Promise<Server> {
  const command = [process.execPath, "--preload", join(import.meta.dir, "preload", preload), MAIN, "--mode=broker"];
  return startServer({ command, dataPath });
}

/** The processes that a process has started, and those that these have. Only Linux lists them. */
function descendants(pid: number): number[] {
  const list = `/proc/${pid}/task/${pid}/children`;
  const children = existsSync(list) ? readFileSync(list, "utf8").trim().split(" ").filter(Boolean).map(Number) : [];
  return children.flatMap((child) => [child, ...descendants(child)]);
}

let dataPath: string;
beforeEach(() => {
  dataPath = mkdtempSync(join(tmpdir(), "bunsq-process-"));
});
afterEach(() => {
  rmSync(dataPath, { recursive: true, force: true });
});

/** The first message that the next broker on the same data path delivers. */
async function firstMessageAfterRestart(): Promise<string> {
  const server = await startServer({ dataPath });
  try {
    const client = await RawClient.connect(server.tcpPort);
    await client.call("SUB kept channel");
    client.command("RDY 1");
    return (await client.message()).text;
  } finally {
    await server.stop();
  }
}

async function publish(server: Server, body: string): Promise<void> {
  const client = await RawClient.connect(server.tcpPort);
  expect(await client.call("PUB kept", body)).toBe("OK");
}

describe("a broker process", () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    test(`saves its state and ends with 0 on ${signal}, while a client is connected`, async () => {
      const server = await startServer({ dataPath });
      await publish(server, `before ${signal}`);
      expect(await server.stop(signal)).toBe(0);
      expect(server.log()).toContain(` INFO: ${signal}: closing\n`);
      expect(await firstMessageAfterRestart()).toBe(`before ${signal}`);
    }, 60_000);
  }

  for (const mode of ["broker", "lookup", "all"]) {
    testUnless(missing("sh"))(
      `goes on at SIGHUP when it was started with SIGHUP ignored, as nohup does (${mode})`,
      async () => {
        const ports = [
          "tcp-address",
          "http-address",
          ...(mode === "all" ? ["lookup-tcp-address", "lookup-http-address", "admin-http-address"] : []),
        ];
        const running = await startProcess("bunsq", [
          ...["sh", "-c", 'trap "" HUP; exec "$@"', "sh", process.execPath, MAIN, `--mode=${mode}`],
          ...(mode === "lookup" ? [] : [`--data-path=${dataPath}`]),
          ...ports.map((flag) => `--${flag}=127.0.0.1:0`),
        ]);
        try {
          running.process.kill("SIGHUP");
          expect(await (await running.http("GET", "/ping")).text()).toBe("OK");
          expect(await running.stop("SIGTERM")).toBe(0);
          expect(running.log()).not.toContain("SIGHUP");
          expect(running.log()).toContain(" INFO: SIGTERM: closing\n");
        } finally {
          await running.stop("SIGKILL");
        }
      },
      60_000,
    );
  }

  testUnless(missing("npm", "sh"))(
    "ends when npm start gets SIGTERM, and npm waits for it",
    async () => {
      const running = await startProcess("bunsq", [
        ...["npm", "--silent", "start", "--", "--mode=broker", `--data-path=${dataPath}`],
        ...["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"],
      ]);
      const started = descendants(running.process.pid);
      try {
        await running.stop("SIGTERM");
        await until("the broker has ended", () => running.log().includes("NSQ: bye"));
        await until("its process is gone", () => !started.some((pid) => existsSync(`/proc/${pid}`)));
      } finally {
        for (const pid of started) if (existsSync(`/proc/${pid}`)) process.kill(pid, "SIGKILL");
      }
    },
    60_000,
  );

  testUnless(missing("npm", "sh", "script"))(
    "stops cleanly at Ctrl-C in a terminal, although npm start sends the signal on to it",
    async () => {
      const flags = `--mode=broker --data-path=${dataPath} --tcp-address=127.0.0.1:0 --http-address=127.0.0.1:0`;
      // script(1) is the terminal: what it reads is typed.
      const child = Bun.spawn(["script", "-qec", `npm --silent start -- ${flags}`, "/dev/null"], {
        ...{ cwd: ROOT, stdin: "pipe", stdout: "pipe", stderr: "ignore", env: cleanEnvironment() },
      });
      let log = "";
      const reading = (async () => {
        const decoder = new TextDecoder();
        for await (const bytes of child.stdout) log += decoder.decode(bytes, { stream: true });
      })();
      try {
        await until("it listens", () => log.includes("HTTP: listening on"));
        child.stdin.write("\x03");
        await child.stdin.flush();
        await until("it has ended", () => /NSQ: bye|exiting at once/.test(log));
        expect(log).toContain("NSQ: bye");
      } finally {
        for (const pid of descendants(child.pid)) if (existsSync(`/proc/${pid}`)) process.kill(pid, "SIGKILL");
        child.kill("SIGKILL");
        await reading;
      }
    },
    60_000,
  );

  test("ends at once with 1 at a second signal while it is closing", async () => {
    const server = await startWith("endless-close.ts", dataPath);
    server.process.kill("SIGTERM");
    await until("it says that it is closing", () => server.log().includes("SIGTERM: closing"));
    expect(await server.stop("SIGINT")).toBe(1);
    expect(server.log()).toContain(" FATAL: SIGINT while closing: exiting at once\n");
  }, 60_000);

  test("ends with 0 at a signal during an import of nsqd's data, and the next one goes on with the import", async () => {
    const MESSAGES = 200_000;
    const queue = createDiskqueue(dataPath, "kept", "channel");
    for (let n = 0; n < MESSAGES; n++) queue.append(payload(message(n, 200)), 0, 226, 0);
    queue.close();
    writeNsqdMetadata(dataPath, [{ name: "kept", paused: false, channels: [{ name: "channel", paused: false }] }]);
    const command = [process.execPath, MAIN, "--mode=broker", "--tcp-address=127.0.0.1:0", "--http-address=", `--data-path=${dataPath}`];
    const child = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "pipe", env: cleanEnvironment() });
    let log = "";
    let stopped = false;
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      log += decoder.decode(chunk, { stream: true });
      if (!stopped && log.includes("importing 1 topics")) {
        stopped = true;
        child.kill("SIGTERM");
      }
    }
    expect(await child.exited).toBe(0);
    expect(log).toContain(" INFO: interrupted; the next start goes on where this one stopped\n");
    const server = await startServer({ dataPath });
    const { topics } = (await (await server.http("GET", "/stats?format=json")).json()) as { topics: { channels: { depth: number }[] }[] };
    expect(topics[0]?.channels[0]?.depth).toBe(MESSAGES);
    const client = await RawClient.connect(server.tcpPort);
    await client.call("SUB kept channel");
    client.command("RDY 1");
    client.command(`FIN ${(await client.message()).id}`);
    // The next one comes only if the id of the first was one that the broker knows.
    client.command(`FIN ${(await client.message()).id}`);
    expect(await server.stop()).toBe(0);
  }, 60_000);

  test("is killed by SIGUSR1, which no message that was acknowledged is lost by", async () => {
    const server = await startServer({ dataPath });
    await publish(server, "before SIGUSR1");
    expect(await server.stop("SIGUSR1")).toBe(128 + 10);
    expect(server.log()).not.toContain("closing");
    expect(await firstMessageAfterRestart()).toBe("before SIGUSR1");
  }, 60_000);

  for (const kind of ["fault", "rejection"]) {
    test(`logs a ${kind} that is not caught with its stack, saves its state, and ends with 1`, async () => {
      const server = await startWith(`${kind}.ts`, dataPath);
      await publish(server, "before the end");
      expect(await server.stop("SIGUSR1")).toBe(1);
      expect(server.log()).toContain(` FATAL: Error: planted ${kind}\n`);
      expect(server.log()).toMatch(new RegExp(`FATAL: {5}at .*${kind}\\.ts:\\d+`));
      expect(await firstMessageAfterRestart()).toBe("before the end");
    }, 60_000);
  }

  test("says which port is in use and what to do, and ends with 1", async () => {
    const first = await startServer({ dataPath });
    const folder = mkdtempSync(join(tmpdir(), "bunsq-process-"));
    try {
      for (const flag of ["tcp-address", "http-address"]) {
        const port = flag === "tcp-address" ? first.tcpPort : first.httpPort;
        // The last value of a repeated flag counts.
        const failure = await startServer({ dataPath: folder, args: [`--${flag}=127.0.0.1:${port}`] }).catch(String);
        expect(failure).toStartWith("Error: bunsq exited with 1:");
        expect(failure).toContain(`127.0.0.1:${port}`);
        expect(failure).toContain(flag);
        expect(failure).not.toContain("    at ");
      }
    } finally {
      rmSync(folder, { recursive: true });
      await first.stop();
    }
  }, 60_000);

  test("refuses a data path that another process has locked, and does not disturb that process", async () => {
    const first = await startServer({ dataPath });
    const failure = await startServer({ dataPath }).catch(String);
    expect(failure).toStartWith("Error: bunsq exited with 1:");
    expect(failure).toContain(dataPath);
    expect(failure).not.toContain("    at ");
    await publish(first, "still here");
    expect(await first.stop()).toBe(0);
    expect(await firstMessageAfterRestart()).toBe("still here");
  }, 60_000);

  test("refuses a data path that does not exist or is not a directory, and says which", async () => {
    for (const path of [join(dataPath, "missing"), MAIN]) {
      const failure = await startServer({ dataPath: path }).catch(String);
      expect(failure).toStartWith("Error: bunsq exited with 1:");
      expect(failure).toContain(path);
      expect(failure).not.toContain("    at ");
    }
  }, 60_000);

  testUnless(process.getuid?.() === 0 ? "root may write everywhere" : undefined)(
    "refuses a data path that it may not write to",
    async () => {
      chmodSync(dataPath, 0o500);
      const failure = await startServer({ dataPath }).catch(String);
      chmodSync(dataPath, 0o700);
      expect(failure).toStartWith("Error: bunsq exited with 1:");
      expect(failure).toContain(dataPath);
    },
    60_000,
  );

  test("continues when the reader of its log has exited", async () => {
    const args = [
      "--mode=broker",
      "--log-level=debug",
      "--tcp-address=127.0.0.1:0",
      "--http-address=127.0.0.1:0",
      `--data-path=${dataPath}`,
    ];
    const child = Bun.spawn([process.execPath, MAIN, ...args], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      env: cleanEnvironment(),
    });
    const reader = child.stderr.getReader();
    let log = "";
    const port = (kind: string) => Number(new RegExp(`${kind}: listening on \\S*:(\\d+)`).exec(log)?.[1] ?? 0);
    while (port("TCP") === 0 || port("HTTP") === 0) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`it ended:\n${log}`);
      log += new TextDecoder().decode(value);
    }
    await reader.cancel();
    for (let i = 0; i < 3; i++) {
      const client = await RawClient.connect(port("TCP"));
      expect(await client.call("PUB kept", "x")).toBe("OK");
      client.close();
    }
    expect(await (await fetch(`http://127.0.0.1:${port("HTTP")}/ping`)).text()).toBe("OK");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  }, 60_000);
});
