import { findProgram } from "../../support/needs.ts";
import { cleanEnvironment, MAIN } from "../../support/server.ts";

/** Whose tool to run: ours from source, or Go's from PATH. */
export type Maker = "bunsq" | "nsq";

/** What a run has shown when it has ended. */
export interface Ending {
  code: number | null;
  signal: Bun.Subprocess["signalCode"];
  stdout: string;
  stderr: string;
}

/** A tool that runs. */
export interface RunningTool {
  readonly process: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly ended: Promise<Ending>;
}

/** Starts a tool of NSQ's. @param input its standard input; undefined leaves it open. @param variables of its environment */
export function startTool(
  maker: Maker,
  name: string,
  args: readonly string[],
  input?: string | Uint8Array,
  variables: Readonly<Record<string, string>> = {},
): RunningTool {
  const command = maker === "nsq" ? [findProgram(name) ?? name] : [process.execPath, MAIN, name];
  const child = Bun.spawn([...command, ...args], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...cleanEnvironment(), ...variables },
  });
  if (input !== undefined) {
    try {
      child.stdin.write(input);
      void child.stdin.end();
    } catch (error) {
      // A tool that refuses its command line may be gone already.
      if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
    }
  }
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const ended = (async () => {
    await Promise.all([child.exited, stdout.ended, stderr.ended]);
    return { code: child.exitCode, signal: child.signalCode, stdout: stdout.text(), stderr: stderr.text() };
  })();
  return { process: child, stdout: stdout.text, stderr: stderr.text, ended };
}

/** Runs a tool to its end. */
export function runTool(maker: Maker, name: string, args: readonly string[], input: string | Uint8Array = ""): Promise<Ending> {
  return startTool(maker, name, args, input).ended;
}

/** A log line without its time. */
export function withoutTime(line: string): string {
  return line.replace(/^(\[\w+\] )?\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d(\.\d+)? /, "");
}

function collect(stream: ReadableStream<Uint8Array>): { text: () => string; ended: Promise<void> } {
  let text = "";
  const decoder = new TextDecoder();
  const ended = (async () => {
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  })();
  return { text: () => text, ended };
}
