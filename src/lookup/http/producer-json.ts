import { encodeJson } from "../../http/reply.ts";
import type { Producer, ProducerInfo } from "../producer.ts";

/** A producer as /lookup shows it. It is laid out once: a topic may be at hundreds, and each is at many topics. */
export function producerJson(producer: Producer): string {
  producer.json ??= `{${infoFields(producer.info)}}`;
  return producer.json;
}

/** Its fields without braces, in nsqlookupd's order. */
export function infoFields(info: ProducerInfo): string {
  return (
    `"remote_address":${encodeJson(info.remoteAddress)},"hostname":${encodeJson(info.hostname)},` +
    `"broadcast_address":${encodeJson(info.broadcastAddress)},"tcp_port":${info.tcpPort},"http_port":${info.httpPort},` +
    `"version":${encodeJson(info.version)}`
  );
}
