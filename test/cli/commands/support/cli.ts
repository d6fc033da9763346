import { cleanEnvironment, MAIN } from "../../../support/server.ts";

/** How a command ended. */
export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** The command line of bunsq from source. */
export function commandLine(...args: string[]): string[] {
  return [process.execPath, MAIN, ...args];
}

/** Runs a command to its end. @param env beside the environment without settings of ours */
export async function runCommand(env: Record<string, string>, args: string[], input = ""): Promise<Outcome> {
  const child = Bun.spawn(commandLine(...args), {
    env: { ...cleanEnvironment(), ...env },
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

/** Runs commands against a broker. */
export function commandsAt(broker: { httpPort: number }, variable = "BUNSQ_BROKER") {
  return (...args: string[]) => runCommand({ [variable]: `127.0.0.1:${broker.httpPort}` }, args);
}
