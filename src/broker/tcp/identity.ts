import { IN_ZONE, type Locality } from "../topics/locality.ts";
import { TraceName } from "../trace/trace-name.ts";

/** What a client has said of itself by IDENTIFY. What its channel asks for each delivery is on the connection itself. */
export class Identity {
  clientId: string;
  hostname: string;
  userAgent = "";
  topologyRegion = "";
  topologyZone = "";
  outputBufferSizeBytes = 16 * 1024;
  /** FIN, REQ and TOUCH may say which delivery they mean (commands/delivery-token.ts). */
  deliveryTokens = false;
  /** The client understands headers in message frames, as Youzan's do. */
  extendSupport = false;

  /** IN_ZONE, IN_REGION or ELSEWHERE (locality.ts). */
  nearness: number;
  private ownTraceName: TraceName | undefined;

  /**
   * @param host what it is called as long as it has said nothing
   * @param locality where the broker is; undefined: it does not matter where clients are
   */
  constructor(
    host: string,
    public outputBufferTimeoutMs: number,
    private readonly locality: Locality | undefined,
  ) {
    this.clientId = this.hostname = host;
    this.nearness = locality?.nearness("", "") ?? IN_ZONE;
  }

  /** What traces call the client, by what it has said of itself until it is first traced. */
  traceName(remoteAddress: string): TraceName {
    this.ownTraceName ??= new TraceName(`${this.clientId} on ${this.hostname} (${remoteAddress})`);
    return this.ownTraceName;
  }

  /** Whether it matters to the broker where the client is. */
  get isLocated(): boolean {
    return this.locality !== undefined;
  }

  locate(region: string, zone: string): void {
    if (this.locality === undefined) return;
    this.topologyRegion = region;
    this.topologyZone = zone;
    this.nearness = this.locality.nearness(region, zone);
  }
}
