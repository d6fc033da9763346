import type { Logger } from "../base/logger.ts";
import type { LookupOptions } from "../lookup/options.ts";
import { startLookup } from "../lookup/start-lookup.ts";
import { runProcess } from "./process.ts";

/** Runs a process with a lookup server. @returns when it has ended: whether it ended without an error */
export function runLookup(options: LookupOptions, logger: Logger): Promise<boolean> {
  return runProcess(logger, (server) => {
    const lookup = startLookup(options, logger);
    server.opened(() => lookup.stop());
  });
}
