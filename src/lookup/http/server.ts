import { type HttpLimits, type HttpServer, serveHttp } from "../../http/server/server.ts";
import { parseAddress } from "../../net/address.ts";
import type { Lookup } from "../lookup.ts";
import { LookupCall } from "./call.ts";
import { NodeLists } from "./node-lists.ts";
import { router } from "./routes.ts";

/**
 * Starts to serve the HTTP API on the lookup's -http-address.
 *
 * @throws StartError when the address cannot be had
 */
export function startHttp(lookup: Lookup, limits: Partial<HttpLimits> = {}): HttpServer {
  const { options, logger } = lookup;
  // nsqlookupd has no unix sockets: what is no host:port is a slip, and not a file's name.
  parseAddress(options.httpAddress);
  const lists = new NodeLists();
  return serveHttp(
    {
      address: options.httpAddress,
      addressFlag: lookup.flagName("http-address"),
      log: logger,
      router,
      call: (incoming) => new LookupCall(lookup, lists, incoming),
    },
    limits,
  );
}
