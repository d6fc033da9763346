import { Answers } from "../../../src/broker/acks/group-commit.ts";

/** Loaded before the program. Makes the close of a broker never end. */
Answers.prototype.untilSynced = () => Promise.withResolvers<void>().promise;
