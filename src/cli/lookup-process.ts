import type { Logger } from "../base/logger.ts";
import type { LookupOptions } from "../lookup/options.ts";
import { type LookupServer, startLookup } from "../lookup/start-lookup.ts";
import { runProcess } from "./process.ts";

/** Runs a process with a lookup server. @returns when it has ended: whether it ended without an error */
export function runLookup(options: LookupOptions, logger: Logger): Promise<boolean> {
  return runProcess(logger, async (server) => {
    const lookup = startLookup(options, logger);
    server.opened(() => lookup.stop());
    await joinCluster(lookup, options, logger);
  });
}

/** Makes a lookup server a member of the cluster that its options name. What that takes is loaded only then. @throws StartError */
export async function joinCluster(lookup: LookupServer, options: LookupOptions, logger: Logger): Promise<void> {
  if (options.etcdEndpoints.length === 0) return;
  const { LookupMember } = await import("../cluster/member/lookup-member.ts");
  lookup.join((place) => new LookupMember(options, place, logger));
}
