import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { certificate, clientTls, TLS_FLAGS } from "../../../support/certs/certs.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { MAIN, type Running, startProcess, until } from "../../../support/server.ts";

/** A broker whose HTTP is not on a plain TCP port. */
export interface OtherListener extends AsyncDisposable {
  running: Running;
  /** As `--broker=` takes it. */
  address: string;
  /** What a command needs beside the address. */
  flags: string[];
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

/** Brokers that serve HTTP in one other way alone, by the name of the way. */
export const OTHER_LISTENERS: Readonly<Record<string, () => Promise<OtherListener>>> = {
  "HTTPS alone": async () => {
    const folder = temporaryFolder();
    const running = await start(folder, ["TCP", "HTTPS"], "--http-address=", ...TLS_FLAGS);
    const address = `https://127.0.0.1:${/HTTPS: listening on \S*:(\d+)/.exec(running.log())?.[1]}`;
    const fetchOver = (path: string, init: RequestInit = {}) => fetch(address + path, { ...init, tls: clientTls() });
    return listener(folder, running, address, [`--tls-root-ca-file=${certificate("ca.pem")}`], fetchOver);
  },
  "a unix socket": async () => {
    const folder = temporaryFolder();
    const address = join(folder, "http.sock");
    const running = await start(folder, ["TCP"], `--http-address=${address}`);
    await until("it listens", () => running.log().includes(`HTTP: listening on ${address}\n`));
    const fetchOver = (path: string, init: RequestInit = {}) => fetch(`http://localhost${path}`, { ...init, unix: address });
    return listener(folder, running, address, [], fetchOver);
  },
};

function start(folder: string, listeners: string[], ...args: string[]): Promise<Running> {
  const data = mkdtempSync(join(folder, "data-"));
  return startProcess(
    "bunsq",
    [process.execPath, MAIN, "--mode=broker", "--tcp-address=127.0.0.1:0", `--data-path=${data}`, ...args],
    listeners,
  );
}

function listener(folder: string, running: Running, address: string, flags: string[], fetchOver: OtherListener["fetch"]): OtherListener {
  return {
    ...{ running, address, flags, fetch: fetchOver },
    [Symbol.asyncDispose]: async () => {
      await running.stop("SIGKILL");
      removeFolder(folder);
    },
  };
}
