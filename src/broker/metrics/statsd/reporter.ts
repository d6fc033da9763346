import { lazy } from "../../../base/lazy.ts";
import type { Logger } from "../../../base/logger.ts";
import { parseRemoteAddress } from "../../../net/address.ts";
import type { BrokerOptions } from "../../options.ts";
import { readMemory, readStats, type StatsSource } from "../stats.ts";
import { Packets } from "./packets.ts";
import { statsdPrefix } from "./prefix.ts";
import { Report } from "./report.ts";

/** Of the interval, this much is left over when its packets are out (nsqd/statsd.go). */
const QUIET_MS = 1000;
/** So that thousands of topics keep nobody waiting: about a millisecond's worth. */
const TOPICS_PER_TURN = 64;

/** The broker that is reported on. */
export interface ReportedBroker extends StatsSource {
  readonly options: BrokerOptions;
  readonly logger: Logger;
}

/**
 * Sends the statistics to a statsd daemon, again and again. As nsqd it spreads a report's packets over the interval
 * but its last second, so that a daemon is not flooded.
 */
export class StatsdReporter {
  private readonly report: Report;
  private readonly ended = Promise.withResolvers<void>();
  private closing = false;
  private running: Promise<void> | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private nextMs = performance.now();

  /**
   * Begins to report to -statsd-address, if there is one: for the first time after one interval.
   *
   * @param httpPort of the broker's HTTP; 0 for none
   * @throws StartError for an address that is none
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
    this.wait();
  }

  /** Sends what is left of a report that is under way, without further waits. */
  async close(): Promise<void> {
    this.closing = true;
    this.ended.resolve();
    clearTimeout(this.timer);
    await this.running;
    this.broker.logger.info("STATSD: closing");
  }

  private wait(): void {
    const { statsdIntervalMs } = this.broker.options;
    // From when it was due, so that lateness does not add up; what was missed is not made up for.
    this.nextMs = Math.max(this.nextMs + statsdIntervalMs, performance.now());
    this.timer = setTimeout(() => {
      this.running = this.send().finally(() => {
        if (!this.closing) this.wait();
      });
    }, this.nextMs - performance.now());
  }

  private async send(): Promise<void> {
    const { logger, options } = this.broker;
    try {
      // Anew each time: the daemon may have moved.
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
      // None, if it was deleted meanwhile.
      for (const topic of readStats(broker, name, "", false).topics ?? []) report.writeTopic(packets, topic);
    }
    if (options.statsdMemStats) report.writeMemory(packets, readMemory());
    return packets.end();
  }

  private failed(error: Error): void {
    this.broker.logger.error(`STATSD: cannot send to ${this.broker.options.statsdAddress}: ${error.message}`);
  }
}
