import { findProgram } from "./needs.ts";
import { MAIN, type Running, startProcess } from "./server.ts";

/** Which lookup server to start: ours from source, or Go's from NSQLOOKUPD_BIN or PATH. */
export type LookupProgram = "bunsq" | "nsqlookupd";

/** Where Go's nsqlookupd is, if this machine has it. */
export function findNsqlookupd(): string | undefined {
  return findProgram("nsqlookupd");
}

/** Starts a lookup server and returns once both of its listeners are up. Rejects with its log if it exits first. */
export function startLookupServer(program: LookupProgram = "bunsq", args: string[] = []): Promise<Running> {
  const command = program === "nsqlookupd" ? [findNsqlookupd() ?? "nsqlookupd"] : [process.execPath, MAIN, "--mode=lookup"];
  return startProcess(program, [...command, "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0", ...args]);
}
