import type { Logger } from "../base/logger.ts";
import type { LookupOptions } from "../lookup/options.ts";
import { startLookup } from "../lookup/start-lookup.ts";
import { runProcess } from "./process.ts";

/** Runs a lookup server as this process's whole purpose. @returns once it has ended; whether all went well */
export function runLookup(options: LookupOptions, logger: Logger): Promise<boolean> {
  return runProcess(logger, (opened) => {
    const lookup = startLookup(options, logger);
    opened(() => lookup.stop());
  });
}
