import { DescriptorBudget, descriptorLimit } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { type HttpLimits, httpLimits } from "../http/server/load.ts";
import { ProxyFront } from "../http/server/proxy-front.ts";
import { type HttpServer, serveHttp } from "../http/server/server.ts";
import { LOOPBACK } from "../http/server/tcp-proxy.ts";
import { parseAddress } from "../net/address.ts";
import { Admin } from "./admin.ts";
import { servePage } from "./assets/page-server.ts";
import { AdminCall } from "./call.ts";
import type { AdminOptions } from "./options.ts";
import { adminRouter } from "./routes.ts";
import { addSecurityHeaders } from "./security-headers.ts";

/** A running console. */
export interface AdminServer {
  readonly httpPort: number;
  /** Asks brokers and lookups no more, and ends the streams of pages. stop() does so, too. */
  endWatching(): void;
  /** Answers the HTTP requests under way, closes all connections, and resolves when the listener is closed. */
  stop(): Promise<void>;
}

/**
 * Starts the console.
 *
 * @param flagPrefix in front of the names of its flags in errors: `admin-` if a broker runs in the same process
 * @param descriptors of the process, which a broker may share
 * @throws StartError if its options do not fit each other, or it cannot listen; then nothing is left open
 */
export function startAdmin(options: AdminOptions, logger: Logger, flagPrefix = "", descriptors = ownDescriptors()): AdminServer {
  const admin = new Admin(options, logger, descriptors, flagPrefix);
  const http = startHttp(admin);
  admin.start();
  return {
    httpPort: http.port,
    endWatching: () => admin.close(),
    stop: async () => {
      admin.close();
      await http.stop();
      await Promise.all([admin.notifications?.stop(), admin.audit.close()]);
    },
  };
}

function ownDescriptors(): DescriptorBudget {
  return new DescriptorBudget(descriptorLimit());
}

/** @throws StartError if it cannot listen on -http-address */
function startHttp(admin: Admin, limits: Partial<HttpLimits> = {}): HttpServer {
  const { options, logger, rateLimitedLog, descriptors, clientDescriptors } = admin;
  // nsqadmin has no unix sockets, so an address that is not host:port is a mistake, not the name of a file.
  parseAddress(options.httpAddress);
  const addressFlag = admin.flagName("http-address");
  // There is no flag for it: descriptors are the limit.
  const services = { logger, rateLimitedLog, descriptors, clientDescriptors, options: { maxHttpConnections: 0 } };
  const front = new ProxyFront(services, httpLimits(limits), options.httpAddress, addressFlag);
  try {
    return serveHttp(
      {
        address: `${LOOPBACK}:0`,
        addressFlag,
        front,
        logger,
        router: adminRouter(options, servePage(options.basePath)),
        allowedHosts: options.httpAllowedHosts,
        call: (incoming) => new AdminCall(admin, incoming),
        addHeaders: (response) => addSecurityHeaders(response, false),
      },
      limits,
    );
  } catch (error) {
    front.abort();
    throw error;
  }
}
