import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram } from "./needs.ts";

/** Our program, from source. */
export const MAIN = join(import.meta.dir, "../../src/main.ts");

/** Which broker to start: ours from source, or Go's from NSQD_BIN or PATH. */
export type Program = "bunsq" | "nsqd";

export interface StartOptions {
  program?: Program;
  /** Flags beside addresses and data path. */
  args?: string[];
  /** Given: kept at stop(). Not given: a temporary folder, removed at stop(). */
  dataPath?: string;
  /** Another command in front of the flags, for the compiled binary. */
  command?: string[];
}

/** A server in a process of its own, on ports it chose itself. */
export interface Running {
  readonly program: string;
  readonly tcpPort: number;
  readonly httpPort: number;
  readonly process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  /** Everything it logged so far. */
  readonly log: () => string;
  readonly http: (method: string, path: string, body?: string | Uint8Array<ArrayBuffer>) => Promise<Response>;
  /** Sends a signal (SIGTERM unless told), waits for the exit, returns its code. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<number>;
}

/** A broker in a process of its own. */
export interface Server extends Running, AsyncDisposable {
  readonly program: Program;
  readonly dataPath: string;
}

/** Where Go's nsqd is, if this machine has it. */
export function findNsqd(): string | undefined {
  return findProgram("nsqd");
}

/** Starts a broker and returns once both of its listeners are up. Rejects with its log if it exits first. */
export async function startServer(options: StartOptions = {}): Promise<Server> {
  const program = options.program ?? "bunsq";
  const dataPath = options.dataPath ?? mkdtempSync(join(tmpdir(), "bunsq-test-"));
  const command = options.command ?? (program === "nsqd" ? [findNsqd() ?? "nsqd"] : [process.execPath, MAIN, "--mode=broker"]);
  const running = await startProcess(program, [
    ...command,
    "--tcp-address=127.0.0.1:0",
    "--http-address=127.0.0.1:0",
    ...(program === "nsqd" ? ["--https-address=127.0.0.1:0"] : []),
    `--data-path=${dataPath}`,
    ...(options.args ?? []),
  ]);
  const stop = async (signal?: NodeJS.Signals) => {
    const code = await running.stop(signal);
    if (options.dataPath === undefined) rmSync(dataPath, { recursive: true, force: true });
    return code;
  };
  return {
    ...running,
    program,
    dataPath,
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop();
    },
  };
}

/**
 * Starts a server and returns once it has logged where it listens. Rejects with its log if it exits first.
 *
 * @param listeners that it has; the port of another is 0
 */
export async function startProcess(program: string, command: string[], listeners = ["TCP", "HTTP"]): Promise<Running> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "pipe", env: cleanEnvironment() });
  let log = "";
  let wake = () => {};
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      log += decoder.decode(chunk, { stream: true });
      wake();
    }
    wake();
  })();
  const port = (kind: string) => Number(new RegExp(`${kind}: listening on \\S*:(\\d+)`).exec(log)?.[1] ?? 0);
  const deadline = Date.now() + 20_000;
  while (listeners.some((kind) => port(kind) === 0)) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${program} exited with ${child.exitCode}:\n${log}`);
    if (Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`${program} is not up after 20 s:\n${log}`);
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 50);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  const httpPort = port("HTTP");
  return {
    program,
    tcpPort: port("TCP"),
    httpPort,
    process: child,
    log: () => log,
    http: (method, path, body) => fetch(`http://127.0.0.1:${httpPort}${path}`, body === undefined ? { method } : { method, body }),
    stop: (signal = "SIGTERM") => {
      child.kill(signal);
      return child.exited;
    },
  };
}

/** The environment without what would set flags of ours; some of the tests' own settings are called so. */
export function cleanEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BUNSQ_")));
}

/** Waits until `condition` holds, looking every few milliseconds; throws what it waited for after `timeoutMs`. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 25_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await Bun.sleep(5);
  }
}
