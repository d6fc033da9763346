import { Broker } from "../../../src/broker/broker.ts";

/** Loaded before the program: a broker whose close never ends. */
Broker.prototype.close = () => Promise.withResolvers<void>().promise;
