import { setStandardTransport } from "./transport.ts";
import { bunTransport } from "./transports/bun.ts";

setStandardTransport(bunTransport);

export * from "./client.ts";
