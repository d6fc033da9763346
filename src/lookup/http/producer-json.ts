import { encodeJson } from "../../http/server/reply.ts";
import type { ProducerInfo } from "../producer.ts";

/** What a broker said of itself, as JSON without braces, in nsqlookupd's order. */
export function infoFields(info: ProducerInfo): string {
  return (
    `"remote_address":${encodeJson(info.remoteAddress)},"hostname":${encodeJson(info.hostname)},` +
    `"broadcast_address":${encodeJson(info.broadcastAddress)},"tcp_port":${info.tcpPort},"http_port":${info.httpPort},` +
    `"version":${encodeJson(info.version)}`
  );
}
