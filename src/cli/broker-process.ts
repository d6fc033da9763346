import type { Logger } from "../base/logger.ts";
import { Broker } from "../broker/broker.ts";
import { Discovery } from "../broker/discovery/discovery.ts";
import { startHttp } from "../broker/http/server.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { runProcess } from "./process.ts";

/** Runs a broker as this process's whole purpose. @returns once it has ended; whether all went well */
export function runBroker(options: BrokerOptions, log: Logger): Promise<boolean> {
  return runProcess(log, (opened) => {
    const broker = Broker.open(options, log);
    opened(() => broker.close());
    broker.listen();
    let httpPort = 0;
    if (options.httpAddress !== "") {
      const http = startHttp(broker);
      opened(() => http.stop());
      httpPort = http.port;
    }
    const discovery = Discovery.start(broker, httpPort);
    opened(() => discovery.close());
  });
}
