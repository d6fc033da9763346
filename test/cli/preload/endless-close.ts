import { Answers } from "../../../src/broker/acks/group-commit.ts";

/** Loaded before the program: a broker whose close never ends. */
Answers.prototype.untilSynced = () => Promise.withResolvers<void>().promise;
