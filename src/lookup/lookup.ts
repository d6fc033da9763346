import type { Logger } from "../base/logger.ts";
import type { LookupOptions } from "./options.ts";
import { Registry } from "./registry.ts";

/** What all parts of a lookup server share. */
export class Lookup {
  readonly registry: Registry;
  /** The ports that the server listens on, once it does: brokers are told. */
  tcpPort = 0;
  httpPort = 0;

  constructor(
    readonly options: LookupOptions,
    readonly logger: Logger,
    private readonly flagPrefix = "",
  ) {
    this.registry = new Registry(options);
  }

  /** The name of a flag, as it was given on the command line. */
  flagName(name: string): string {
    return this.flagPrefix + name;
  }
}
