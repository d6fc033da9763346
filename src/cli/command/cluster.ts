import { ClientError, ClusterClient, type ClusterStatus, HttpError } from "../../client/bun.ts";
import { environmentName } from "../environment.ts";
import type { ListFlag } from "../flag.ts";
import type { FlagTable } from "../flags.ts";
import { readText } from "../values.ts";
import { LOOKUP_PORT, lookupFlag, withPort } from "./brokers.ts";
import { type Call, EXIT_OK } from "./command.ts";
import { httpOptions, TLS_FLAGS, type TlsFlags } from "./credentials.ts";
import { jsonFlag } from "./words.ts";

/** The flags of a command that asks a lookup server of a cluster. */
export interface ClusterFlags extends TlsFlags {
  lookups: string[];
  json: boolean;
}

const lookupsFlag: ListFlag = {
  ...lookupFlag,
  defaultDoc: `127.0.0.1:${LOOKUP_PORT}`,
  doc: `<addr>[:<port>] of the HTTP listener of a lookup server of the cluster, or its URL; of several with commas, the first one that answers is asked (BUNSQ_LOOKUP, else 127.0.0.1:${LOOKUP_PORT})`,
};

export const CLUSTER_TABLE: FlagTable<ClusterFlags> = { options: { lookups: lookupsFlag, ...TLS_FLAGS, json: jsonFlag }, others: [] };

/** As many digits of a data path uid are shown. */
const SHOWN_DIGITS = 8;

/**
 * Asks a lookup server of the cluster.
 *
 * @param ask may be called again for another server, if this one does not answer
 * @throws UsageError; ClientError of the last server
 */
export async function askCluster<Answer>(call: Call<ClusterFlags>, ask: (client: ClusterClient) => Promise<Answer>): Promise<Answer> {
  const given =
    call.options.lookups.length > 0
      ? call.options.lookups
      : (readText(lookupsFlag, call.environment[environmentName(lookupsFlag)] ?? "") as string[]);
  const addresses = given.length > 0 ? given.map((text) => withPort(text, LOOKUP_PORT)) : [`127.0.0.1:${LOOKUP_PORT}`];
  const http = httpOptions(call, addresses);
  let failure: unknown;
  for (const address of addresses) {
    try {
      return await ask(new ClusterClient(address, http));
    } catch (error) {
      failure = explained(error, address);
      // One that was reached may have done what it was asked for, so no other one is asked.
      const isReached = !(error instanceof ClientError) || error.code !== "CONNECT_FAILED";
      if (isReached) break;
      if (addresses.length > 1) call.terminal.warn(`warning: cannot reach the lookup server ${address}`);
    }
  }
  throw failure;
}

/** What a lookup server says is for people already, behind the code. */
function explained(error: unknown, address: string): unknown {
  if (error instanceof ClientError && error.code === "CONNECT_FAILED") {
    const text = `cannot reach the lookup server ${address}: ${error.text}\nis it running there? --lookup or BUNSQ_LOOKUP says where to connect to`;
    return new ClientError("LOOKUP_AWAY", text);
  }
  if (!(error instanceof HttpError)) return error;
  const [, code, text] = /^([A-Z_]+): (.+)$/s.exec(error.code) ?? [];
  if (error.code === "NOT_FOUND")
    return new ClientError("NO_CLUSTER", `${address} has no calls for clusters: it is no lookup server of bunsq's`);
  return code === undefined || text === undefined ? error : new ClientError(code, text);
}

/** Carries a change out, and says so. @param done what has been asked for: `orders/0 moves to 10.0.0.2` */
export async function change(call: Call<ClusterFlags>, ask: (client: ClusterClient) => Promise<void>, done: string): Promise<number> {
  await askCluster(call, ask);
  if (call.options.json) await call.terminal.printJson({ ok: true });
  else await call.terminal.print(`${done}\n`);
  return EXIT_OK;
}

/** What a broker is called, by its uid: its address, or the first digits of the uid if nobody knows that. */
export function brokerLabels({ brokers }: ClusterStatus): (uid: string) => string {
  const labels = new Map(brokers.map(({ uid, http, tcp }) => [uid, http || tcp || uid.slice(0, SHOWN_DIGITS)]));
  return (uid) => labels.get(uid) ?? uid.slice(0, SHOWN_DIGITS);
}
