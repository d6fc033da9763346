import { logLevelNumber, parseAddresses, parseLogLevel } from "../../http/server/config-values.ts";
import { json, Refusal, text } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";
import type { AdminOptions } from "../options.ts";

const NS_PER_MS = 1_000_000;
const MOST_VALUE_BYTES = 1024 * 1024;

/** Reads an option in the type that Go's JSON has for it. Durations are numbers of nanoseconds. */
type OptionReader = (options: AdminOptions) => string | number | boolean | string[];

/** By nsqadmin's names, and those of HTTPS, which it does not have. */
const OPTIONS = new Map<string, OptionReader>([
  ["log_level", (options) => logLevelNumber(options.logLevel)],
  ["log_prefix", (options) => options.logPrefix],
  ["http_address", (options) => options.httpAddress],
  ["https_address", (options) => options.httpsAddress],
  ["tls_cert", (options) => options.tlsCert],
  ["tls_key", (options) => options.tlsKey],
  ["hsts", (options) => options.hsts],
  ["base_path", (options) => options.basePath],
  ["dev_static_dir", (options) => options.devStaticDir],
  ["graphite_url", (options) => options.graphiteUrl],
  ["proxy_graphite", (options) => options.proxyGraphite],
  ["statsd_prefix", (options) => options.statsdPrefix],
  ["statsd_counter_format", (options) => options.statsdCounterFormat],
  ["statsd_gauge_format", (options) => options.statsdGaugeFormat],
  ["statsd_interval", (options) => options.statsdIntervalMs * NS_PER_MS],
  ["nsqlookupd_http_addresses", (options) => options.lookupdHttpAddresses],
  ["nsqd_http_addresses", (options) => options.nsqdHttpAddresses],
  ["http_client_connect_timeout", (options) => options.httpClientConnectTimeoutMs * NS_PER_MS],
  ["http_client_request_timeout", (options) => options.httpClientRequestTimeoutMs * NS_PER_MS],
  ["http_client_tls_insecure_skip_verify", (options) => options.httpClientTlsInsecureSkipVerify],
  ["http_client_tls_root_ca_file", (options) => options.httpClientTlsRootCaFile],
  ["http_client_tls_cert", (options) => options.httpClientTlsCert],
  ["http_client_tls_key", (options) => options.httpClientTlsKey],
  ["allow_config_from_cidr", (options) => options.allowConfigFromCidr],
  ["notification_http_endpoint", (options) => options.notificationHttpEndpoint],
  ["acl_http_header", (options) => options.aclHttpHeader],
  ["admin_users", (options) => options.adminUsers],
]);

/** GET /config/:opt: the value of an option. */
export function getConfig(call: AdminCall): Response {
  checkNetwork(call);
  return answerWith(call);
}

/** PUT /config/:opt: changes one of the options that can be changed at run time, and answers with its new value. */
export async function putConfig(call: AdminCall): Promise<Response> {
  checkNetwork(call);
  const { options, logger } = call.admin;
  const body = await call.body(MOST_VALUE_BYTES, "INVALID_VALUE");
  // This status is nsqadmin's.
  if (body.length === 0) throw new Refusal(413, "INVALID_VALUE");
  const value = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  if (call.parameter === "log_level") {
    const level = parseLogLevel(value);
    options.logLevel = level;
    logger.level = level;
  } else if (call.parameter === "nsqlookupd_http_addresses") {
    options.lookupdHttpAddresses = parseAddresses(value);
  } else {
    throw new Refusal(400, "INVALID_OPTION");
  }
  return answerWith(call);
}

/** @throws Refusal 403 for a client outside of --allow-config-from-cidr; 400 for one whose address is not known any more */
function checkNetwork({ admin, clientAddress }: AdminCall): void {
  if (admin.configNetwork === undefined) return;
  const [, host] = /^\[?(.+?)\]?(?::\d+)?$/.exec(clientAddress ?? "") ?? [];
  if (host === undefined) throw new Refusal(400, "INVALID_REMOTE_ADDR");
  if (!admin.configNetwork(host)) throw new Refusal(403, "FORBIDDEN");
}

function answerWith({ admin, parameter }: AdminCall): Response {
  const value = OPTIONS.get(parameter)?.(admin.options);
  if (value === undefined) throw new Refusal(400, "INVALID_OPTION");
  return typeof value === "string" ? text(value) : json(value);
}
