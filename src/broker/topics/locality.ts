import type { Logger } from "../../base/logger.ts";
import { StartError } from "../../base/start-error.ts";
import type { BrokerOptions } from "../options.ts";

/** An experiment of nsqd releases after 1.3.0. */
const TOPOLOGY_AWARE_CONSUMPTION = "topology-aware-consumption";

/** How near a consumer is: nearer is smaller. Without the experiment all consumers are in the zone. */
export const IN_ZONE = 0;
const IN_REGION = 1;
export const ELSEWHERE = 2;

/**
 * The broker's region and zone, for --enable-experiment=topology-aware-consumption. Messages go to consumers in its zone as long
 * as these take them, then to consumers in its region, then to all others.
 */
export class Locality {
  /** @returns undefined without the experiment @throws StartError for an unknown experiment */
  static from(options: BrokerOptions, logger: Logger): Locality | undefined {
    for (const experiment of options.experiments) {
      if (experiment !== TOPOLOGY_AWARE_CONSUMPTION)
        throw new StartError(`unknown -enable-experiment ${experiment}: there is ${TOPOLOGY_AWARE_CONSUMPTION}`);
    }
    if (options.experiments.length === 0) return undefined;
    const { topologyRegion: region, topologyZone: zone } = options;
    if (region === "" && zone === "")
      logger.warn(`-enable-experiment=${TOPOLOGY_AWARE_CONSUMPTION} has no effect without -topology-region and -topology-zone`);
    return new Locality(region, zone);
  }

  private constructor(
    private readonly region: string,
    private readonly zone: string,
  ) {}

  /** How near a consumer is that names this region and zone. One that names none is elsewhere. */
  nearness(region: string, zone: string): number {
    if (region !== this.region) return ELSEWHERE;
    if (zone !== "" && zone === this.zone) return IN_ZONE;
    return region === "" ? ELSEWHERE : IN_REGION;
  }
}
