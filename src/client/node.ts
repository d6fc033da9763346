import { setStandardTransport } from "./transport.ts";
import { nodeTransport } from "./transports/node.ts";

setStandardTransport(nodeTransport);

export * from "./client.ts";
