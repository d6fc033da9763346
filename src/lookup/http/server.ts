import { type HttpLimits, type HttpServer, serveHttp } from "../../http/server.ts";
import type { Lookup } from "../lookup.ts";
import { LookupCall } from "./call.ts";
import { ProducerLists } from "./producer-lists.ts";
import { router } from "./routes.ts";

/**
 * Starts to serve the HTTP API on the lookup's -http-address.
 *
 * @throws StartError when the address cannot be had
 */
export function startHttp(lookup: Lookup, limits: Partial<HttpLimits> = {}): HttpServer {
  const { options, log } = lookup;
  const lists = new ProducerLists();
  return serveHttp(
    {
      address: options.httpAddress,
      addressFlag: lookup.flag("http-address"),
      log,
      router,
      call: (incoming) => new LookupCall(lookup, lists, incoming),
    },
    limits,
  );
}
