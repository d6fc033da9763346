import type { Connection, ConnectionEvents } from "../net/network.ts";
import { ForwardService, type ForwardServiceParts } from "./forward-service.ts";
import { isKnock } from "./forward-wire.ts";

/** The connections by which other brokers have publishes carried out here. */
export class ForwardServices {
  private readonly services = new Set<ForwardService>();

  constructor(private readonly parts: ForwardServiceParts) {}

  /** Takes a connection if it is one of them. @param first its first frame, without its length @throws WireError */
  readonly take = (connection: Connection, first: Buffer): ConnectionEvents | undefined => {
    if (!isKnock(first)) return undefined;
    const service = new ForwardService(connection, this.parts, () => this.services.delete(service));
    service.read(first);
    this.services.add(service);
    return service;
  };

  close(): void {
    for (const service of this.services) service.end();
  }
}
