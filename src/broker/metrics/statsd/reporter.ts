import { lazy } from "../../../base/lazy.ts";
import type { Logger } from "../../../base/logger.ts";
import { parseRemoteAddress } from "../../../net/address.ts";
import type { BrokerOptions } from "../../options.ts";
import { readMemory, readStats, type StatsSource } from "../stats.ts";
import { Packets } from "./packets.ts";
import { statsdPrefix } from "./prefix.ts";
import { Report } from "./report.ts";

/** The packets of a report are sent this long before the interval ends (nsqd/statsd.go). */
const QUIET_MS = 1000;
/** Topics that are reported in one turn of the event loop, which takes about a millisecond. */
const TOPICS_PER_TURN = 64;

/** What reports need of the broker. */
export interface ReportedBroker extends StatsSource {
  readonly options: BrokerOptions;
  readonly logger: Logger;
}

/**
 * Sends the statistics to a statsd daemon at each interval. As in nsqd, the packets of a report are spread over the interval
 * without its last second, so that they do not flood the daemon.
 */
export class StatsdReporter {
  private readonly report: Report;
  private readonly ended = Promise.withResolvers<void>();
  private closing = false;
  private running: Promise<void> | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private nextMs = performance.now();

  /**
   * Starts to report to -statsd-address, if it is given. The first report comes after one interval.
   *
   * @param httpPort that the broker listens on; 0 for none
   * @throws StartError for a malformed address
   */
  static start(broker: ReportedBroker, httpPort: number): StatsdReporter | undefined {
    return broker.options.statsdAddress === "" ? undefined : new StatsdReporter(broker, httpPort);
  }

  private constructor(
    private readonly broker: ReportedBroker,
    private readonly httpPort: number,
    private readonly address = parseRemoteAddress(broker.options.statsdAddress),
  ) {
    this.report = new Report(broker.options.statsdExcludeEphemeral);
    this.scheduleReport();
  }

  /** Sends the rest of a report that is under way, without pauses, and stops. */
  async close(): Promise<void> {
    this.closing = true;
    this.ended.resolve();
    clearTimeout(this.timer);
    await this.running;
    this.broker.logger.info("STATSD: closing");
  }

  private scheduleReport(): void {
    const { statsdIntervalMs } = this.broker.options;
    // From when the last one was due, so that delays do not add up. Missed reports are not made up for.
    this.nextMs = Math.max(this.nextMs + statsdIntervalMs, performance.now());
    this.timer = setTimeout(() => {
      this.running = this.send().finally(() => {
        if (!this.closing) this.scheduleReport();
      });
    }, this.nextMs - performance.now());
  }

  private async send(): Promise<void> {
    const { logger, options } = this.broker;
    try {
      // Each time, because the daemon may have moved.
      const { address, family } = await lazy.dns.lookup(this.address.hostname);
      const hostname = family === 6 ? "::" : "0.0.0.0";
      const socket = await Bun.udpSocket({ hostname, socket: { error: (_, error) => this.failed(error) } });
      try {
        logger.info(`STATSD: pushing stats to ${options.statsdAddress}`);
        const packets = await this.packets();
        const pauseMs = Math.max(0, options.statsdIntervalMs - QUIET_MS) / packets.length;
        for (const packet of packets) {
          if (!socket.send(packet, this.address.port, address)) logger.warn("STATSD: a packet was not sent: the system's buffer is full");
          if (!this.closing && pauseMs > 0) await Promise.race([Bun.sleep(pauseMs), this.ended.promise]);
        }
      } finally {
        socket.close();
      }
    } catch (error) {
      this.failed(error as Error);
    }
  }

  private async packets(): Promise<string[]> {
    const { broker, report } = this;
    const { options } = broker;
    const packets = new Packets(statsdPrefix(options, this.httpPort), options.statsdUdpPacketSizeBytes);
    report.start();
    for (const [n, name] of [...broker.registry.topics.keys()].sort().entries()) {
      if (n % TOPICS_PER_TURN === TOPICS_PER_TURN - 1) await new Promise(setImmediate);
      // None, if the topic was deleted in the meantime.
      for (const topic of readStats(broker, name, "", false).topics ?? []) report.writeTopic(packets, topic);
    }
    for (const [key, value] of Object.entries(broker.clusterReport?.gauges() ?? {})) packets.gauge(`cluster.${key}`, value);
    if (options.statsdMemStats) report.writeMemory(packets, readMemory());
    return packets.end();
  }

  private failed(error: Error): void {
    this.broker.logger.error(`STATSD: cannot send to ${this.broker.options.statsdAddress}: ${error.message}`);
  }
}
