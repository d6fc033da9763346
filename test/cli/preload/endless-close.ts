import { GroupCommit } from "../../../src/broker/acks/group-commit.ts";

/** Loaded before the program. Makes the close of a broker never end. */
GroupCommit.prototype.untilSynced = () => Promise.withResolvers<void>().promise;
