import { startLookupServer } from "../../support/lookup.ts";
import { type Program, startServer } from "../../support/server.ts";

/** A broker that is registered with a lookup server, each in a process of its own. */
export interface Stand extends AsyncDisposable {
  readonly addresses: { tcp: string; http: string; lookup: string; isBunsq: boolean };
}

/** Starts ours, or Go's. @param args flags of the broker */
export async function startStand(program: Program, args: string[] = []): Promise<Stand> {
  const lookup = await startLookupServer(program === "nsqd" ? "nsqlookupd" : "bunsq");
  const broker = await startServer({
    program,
    args: [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1", ...args],
  });
  return {
    addresses: {
      tcp: `127.0.0.1:${broker.tcpPort}`,
      http: `127.0.0.1:${broker.httpPort}`,
      lookup: `127.0.0.1:${lookup.httpPort}`,
      isBunsq: program === "bunsq",
    },
    [Symbol.asyncDispose]: async () => {
      await broker.stop();
      await lookup.stop();
    },
  };
}
