import { hostname } from "node:os";
import { readFields } from "../../base/go/json.ts";
import { fatal, type ProtocolError } from "../../frame/error.ts";
import { NSQ_VERSION } from "../../version.ts";
import { encodeResponse } from "../response.ts";
import type { Session } from "./command.ts";

/** A broker says 200 bytes of itself. nsqlookupd has no bound. */
const MAX_BODY_BYTES = 64 * 1024;

/** What a broker says of itself; what it does not say is empty. Its address it may say, but it is not asked. */
const NOTHING_SAID = { remote_address: "", hostname: "", broadcast_address: "", tcp_port: 0, http_port: 0, version: "" };

/** `IDENTIFY\n size json`: the broker introduces itself, once, before it registers anything. */
export function IDENTIFY({ node }: Session): ProtocolError | "body" {
  return node === undefined ? "body" : fatal("E_INVALID", "cannot IDENTIFY again");
}

/** Looks at the size in front of the body. nsqlookupd ends with a panic on a negative one. */
export function checkBodySize(size: number): ProtocolError | undefined {
  if (size < 0) return fatal("E_BAD_BODY", `IDENTIFY invalid body size ${size}`);
  if (size > MAX_BODY_BYTES) return fatal("E_BAD_BODY", `IDENTIFY body too big ${size} > ${MAX_BODY_BYTES}`);
  return undefined;
}

/** Takes the body, and answers who and where this lookup server is. */
export function acceptIdentity(session: Session, body: Buffer): Buffer | ProtocolError {
  const { lookup, remoteAddress } = session;
  const said = readFields(body.toString(), NOTHING_SAID);
  if (said === undefined) return fatal("E_BAD_BODY", "IDENTIFY failed to decode JSON body");
  const { broadcast_address, tcp_port, http_port, version } = said;
  if (broadcast_address === "" || Number(tcp_port) === 0 || Number(http_port) === 0 || version === "") {
    return fatal("E_BAD_BODY", "IDENTIFY missing fields");
  }
  lookup.logger.info(
    `CLIENT(${remoteAddress}): IDENTIFY Address:${broadcast_address} TCP:${tcp_port} HTTP:${http_port} Version:${version}`,
  );
  session.node = lookup.registry.addNode({
    remoteAddress,
    hostname: said.hostname,
    broadcastAddress: broadcast_address,
    tcpPort: tcp_port,
    httpPort: http_port,
    version,
  });
  lookup.logger.info(`DB: client(${remoteAddress}) REGISTER category:client key: subkey:`);
  return encodeResponse(
    JSON.stringify({
      broadcast_address: lookup.options.broadcastAddress,
      hostname: hostname(),
      http_port: lookup.httpPort,
      tcp_port: lookup.tcpPort,
      version: NSQ_VERSION,
    }),
  );
}
