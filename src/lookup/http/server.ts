import { type HttpLimits, httpLimits } from "../../http/server/load.ts";
import { ProxyFront } from "../../http/server/proxy-front.ts";
import { type HttpServer, serveHttp } from "../../http/server/server.ts";
import { LOOPBACK } from "../../http/server/tcp-proxy.ts";
import { parseAddress } from "../../net/address.ts";
import type { Lookup } from "../lookup.ts";
import { LookupCall } from "./call.ts";
import { NodeLists } from "./node-lists.ts";
import { apiRouter } from "./routes.ts";

/**
 * Starts the HTTP API on the lookup server's -http-address.
 *
 * @throws StartError if it cannot listen on the address
 */
export function startHttp(lookup: Lookup, limits: Partial<HttpLimits> = {}): HttpServer {
  const { options, logger } = lookup;
  // nsqlookupd has no unix sockets, so an address that is not host:port is a mistake, not the name of a file.
  parseAddress(options.httpAddress);
  const lists = new NodeLists();
  const addressFlag = lookup.flagName("http-address");
  const { rateLimitedLog, descriptors, clientDescriptors } = lookup;
  // There is no flag for it: descriptors are the limit.
  const services = { logger, rateLimitedLog, descriptors, clientDescriptors, options: { maxHttpConnections: 0 } };
  const front = new ProxyFront(services, httpLimits(limits), options.httpAddress, addressFlag);
  lookup.connections.http = front.connections;
  try {
    return serveHttp(
      {
        address: `${LOOPBACK}:0`,
        addressFlag,
        front,
        logger,
        router: apiRouter(options.httpDebug),
        allowedHosts: options.httpAllowedHosts,
        call: (incoming) => new LookupCall(lookup, lists, incoming),
      },
      limits,
    );
  } catch (error) {
    front.abort();
    throw error;
  }
}
