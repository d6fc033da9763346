import { goBoolean } from "../../../../base/go/integer.ts";
import { goQuote } from "../../../../base/go/quote.ts";
import { fatal, nonFatal } from "../../../../frame/error.ts";
import type { Line } from "../../../../frame/line.ts";
import { isValidName } from "../../../../frame/names.ts";
import { MAX_PARTITIONS } from "../../../storage/metadata/partition-name.ts";
import type { ConsumingClient } from "../client.ts";
import type { Command, CommandResult } from "../command.ts";
import { checkWords, readPartition } from "./parameters.ts";

/**
 * `INTERNAL_CREATE_TOPIC topic partition [extended]\n`: makes a partition of a topic, with those before it, and the topic if there is none,
 * with messages that have headers or without.
 */
export const INTERNAL_CREATE_TOPIC: Command = {
  execute(client: ConsumingClient, line: Line): CommandResult {
    if (line.words < 3) return fatal("E_INVALID", "CREATE_TOPIC insufficient number of parameters");
    const tooMany = checkWords(line, "CREATE_TOPIC", 4);
    if (tooMany !== undefined) return tooMany;
    const name = line.text(1);
    if (!isValidName(name)) return fatal("E_BAD_TOPIC", `topic name ${goQuote(name)} is not valid`);
    const index = readPartition(line, 2);
    if (typeof index !== "number") return index;
    if (index < 0) return fatal("E_BAD_PARTITION", "partition should not less than 0");
    if (index >= MAX_PARTITIONS) return fatal("E_BAD_PARTITION", `partition should be less than ${MAX_PARTITIONS}`);
    const extended = line.words > 3 ? goBoolean(line.text(3)) : undefined;
    if (extended instanceof Error) return fatal("E_BAD_EXT", `topic ext is not valid: ${extended.message}`);
    const refused = client.auth?.check("INTERNAL_CREATE_TOPIC", name, "");
    if (refused !== undefined) return refused;
    try {
      client.topics.makePartition(name, index, extended === undefined ? {} : { extended });
    } catch (error) {
      return nonFatal("E_CREATE_TOPIC_FAILED", (error as Error).message);
    }
    client.respondOk();
    return undefined;
  },
};
