import type { Logger } from "../base/logger.ts";
import type { LookupOptions } from "./options.ts";
import { Registry } from "./registry.ts";

/** The state that all parts of a lookup server share. */
export class Lookup {
  readonly registry: Registry;
  /** The ports that the server listens on; 0 until it does. The answer to IDENTIFY contains them. */
  tcpPort = 0;
  httpPort = 0;

  constructor(
    readonly options: LookupOptions,
    readonly logger: Logger,
    private readonly flagPrefix = "",
  ) {
    this.registry = new Registry(options);
  }

  /** The name of a flag as it is on the command line, with its prefix. */
  flagName(name: string): string {
    return this.flagPrefix + name;
  }
}
