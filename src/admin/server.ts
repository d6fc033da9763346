import { DescriptorBudget, descriptorLimit } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";
import { ConnectionLimit } from "../http/server/connection-limit.ts";
import { httpLimits } from "../http/server/load.ts";
import { ProxyFront, type ProxyFrontServices } from "../http/server/proxy-front.ts";
import type { Router } from "../http/server/router.ts";
import { type HttpServer, serveHttp } from "../http/server/server.ts";
import { LOOPBACK } from "../http/server/tcp-proxy.ts";
import { parseAddress } from "../net/address.ts";
import { type ListenerTls, readListenerTls } from "../net/listener-tls.ts";
import { Admin } from "./admin.ts";
import { servePage } from "./assets/page-server.ts";
import { AdminCall } from "./call.ts";
import type { AdminOptions } from "./options.ts";
import { adminRouter } from "./routes.ts";
import { addSecurityHeaders } from "./security-headers.ts";

/** A running console. */
export interface AdminServer {
  /** 0 without HTTP. */
  readonly httpPort: number;
  /** 0 without HTTPS. */
  readonly httpsPort: number;
  /** Asks brokers and lookups no more, and ends the streams of pages. stop() does so, too. */
  endWatching(): void;
  /** Answers the HTTP requests under way, closes all connections, and resolves when the listeners are closed. */
  stop(): Promise<void>;
}

/** The clock of the limit on connections. */
const STEADY = {
  get steadyMs() {
    return performance.now();
  },
};

/**
 * Starts the console.
 *
 * @param flagPrefix in front of the names of its flags in errors: `admin-` if a broker runs in the same process
 * @param descriptors of the process, which a broker may share
 * @throws StartError if its options do not fit each other, or it cannot listen; then nothing is left open
 */
export function startAdmin(options: AdminOptions, logger: Logger, flagPrefix = "", descriptors = ownDescriptors()): AdminServer {
  const admin = new Admin(options, logger, descriptors, flagPrefix);
  const { http, https } = startListeners(admin, readTls(admin));
  admin.start();
  return {
    httpPort: http?.port ?? 0,
    httpsPort: https?.port ?? 0,
    endWatching: () => admin.close(),
    stop: async () => {
      admin.close();
      await Promise.all([http?.stop(), https?.stop()]);
      await Promise.all([admin.notifications?.stop(), admin.audit.close()]);
    },
  };
}

function ownDescriptors(): DescriptorBudget {
  return new DescriptorBudget(descriptorLimit());
}

/** What HTTPS is spoken with; undefined: it is not. @throws StartError also if there is no address to listen on */
function readTls(admin: Admin): ListenerTls | undefined {
  const { httpAddress, httpsAddress } = admin.options;
  const tls = readListenerTls(admin.options, "tls1.2", admin.flagPrefix);
  if (httpAddress === "" && (httpsAddress === "" || tls === undefined)) {
    const [http, https, cert, key] = ["http-address", "https-address", "tls-cert", "tls-key"].map((flag) => `-${admin.flagName(flag)}`);
    throw new StartError(`no address to listen on: give ${http}, or ${https} with ${cert} and ${key}`);
  }
  return httpsAddress === "" ? undefined : tls;
}

/** Starts to serve the console by HTTP, HTTPS, or both. @throws StartError if it cannot; then no listener is open */
function startListeners(admin: Admin, tls: ListenerTls | undefined): { http: HttpServer | undefined; https: HttpServer | undefined } {
  const { options, logger, rateLimitedLog, descriptors, clientDescriptors } = admin;
  const router = adminRouter(options, servePage(options.basePath));
  // There is no flag for it: descriptors are the limit.
  const parts = { rateLimitedLog, descriptors, clientDescriptors, options: { maxHttpConnections: 0 } };
  const services = { ...parts, logger, connections: new ConnectionLimit({ ...parts, turn: STEADY }) };
  const http = options.httpAddress === "" ? undefined : startListener(admin, router, services, undefined);
  try {
    return { http, https: tls && startListener(admin, router, services, tls) };
  } catch (error) {
    // Its port is closed at once.
    void http?.stop();
    throw error;
  }
}

/** @param tls undefined: without HTTPS. @throws StartError if it cannot listen on the address of the flag */
function startListener(admin: Admin, router: Router<AdminCall>, services: ProxyFrontServices, tls: ListenerTls | undefined): HttpServer {
  const { options, logger } = admin;
  const isSecure = tls !== undefined;
  const address = isSecure ? options.httpsAddress : options.httpAddress;
  const addressFlag = admin.flagName(isSecure ? "https-address" : "http-address");
  checkAddress(addressFlag, address);
  const front = new ProxyFront(services, httpLimits({}), address, addressFlag, isSecure ? "tls" : "tcp");
  try {
    return serveHttp({
      address: `${LOOPBACK}:0`,
      addressFlag,
      ...(isSecure ? { tls } : {}),
      front,
      logger,
      router,
      allowedHosts: options.httpAllowedHosts,
      call: (incoming) => new AdminCall(admin, incoming, isSecure),
      addHeaders: (response) => addSecurityHeaders(response, isSecure && options.hsts),
    });
  } catch (error) {
    front.abort();
    throw error;
  }
}

/** nsqadmin has no unix sockets, so an address that is not host:port is a mistake, not the name of a file. @throws StartError */
function checkAddress(flag: string, address: string): void {
  try {
    parseAddress(address);
  } catch (error) {
    throw new StartError(`-${flag}: ${(error as Error).message}`);
  }
}
