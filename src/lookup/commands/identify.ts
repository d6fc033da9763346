import { hostname } from "node:os";
import { readFields } from "../../base/go/json.ts";
import { fatal, type ProtocolError } from "../../frame/error.ts";
import { NSQ_VERSION } from "../../version.ts";
import { encodeResponse } from "../response.ts";
import type { Session } from "./command.ts";

/** A broker sends about 200 bytes. nsqlookupd has no limit. */
const MAX_BODY_BYTES = 64 * 1024;

/** The fields of IDENTIFY's body, with the values of missing ones. A broker may send a remote address, but it is ignored. */
const DEFAULTS = {
  remote_address: "",
  hostname: "",
  broadcast_address: "",
  tcp_port: 0,
  http_port: 0,
  version: "",
  // Youzan's: REGISTER and UNREGISTER name partitions.
  distributed_id: "",
  // bunsq's: they name partitions if the answer says so, too; and the worker id of the distributed id.
  registers_partitions: false,
  node_id: 0,
};

/** `IDENTIFY\n size json`: a broker identifies itself, once, before it registers anything. */
export function IDENTIFY({ node }: Session): ProtocolError | "body" {
  return node === undefined ? "body" : fatal("E_INVALID", "cannot IDENTIFY again");
}

/** Checks the size of the body. A negative size makes nsqlookupd panic. */
export function checkBodySize(size: number): ProtocolError | undefined {
  if (size < 0) return fatal("E_BAD_BODY", `IDENTIFY invalid body size ${size}`);
  if (size > MAX_BODY_BYTES) return fatal("E_BAD_BODY", `IDENTIFY body too big ${size} > ${MAX_BODY_BYTES}`);
  return undefined;
}

/** Accepts the body, and answers with the addresses of this lookup server. */
export function acceptIdentity(session: Session, body: Buffer): Buffer | ProtocolError {
  const { lookup, remoteAddress } = session;
  const identity = readFields(body.toString(), DEFAULTS);
  if (identity === undefined) return fatal("E_BAD_BODY", "IDENTIFY failed to decode JSON body");
  const { broadcast_address, tcp_port, http_port, version, registers_partitions } = identity;
  if (broadcast_address === "" || Number(tcp_port) === 0 || Number(http_port) === 0 || version === "") {
    return fatal("E_BAD_BODY", "IDENTIFY missing fields");
  }
  lookup.logger.info(
    `CLIENT(${remoteAddress}): IDENTIFY Address:${broadcast_address} TCP:${tcp_port} HTTP:${http_port} Version:${version}`,
    { part: "tcp", client: remoteAddress },
  );
  session.node = lookup.registry.addNode({
    remoteAddress,
    hostname: identity.hostname,
    broadcastAddress: broadcast_address,
    tcpPort: tcp_port,
    httpPort: http_port,
    version,
    // A broker of bunsq has no RPC port.
    distributedId: registers_partitions ? `${broadcast_address}:0:${tcp_port}:${identity.node_id}` : identity.distributed_id,
    makesPartitions: registers_partitions,
  });
  lookup.logger.info(`DB: client(${remoteAddress}) REGISTER category:client key: subkey:`, { part: "tcp", client: remoteAddress });
  return encodeResponse(
    JSON.stringify({
      broadcast_address: lookup.options.broadcastAddress,
      hostname: hostname(),
      http_port: lookup.httpPort,
      tcp_port: lookup.tcpPort,
      version: NSQ_VERSION,
      ...(registers_partitions && { registers_partitions }),
    }),
  );
}
