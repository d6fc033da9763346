import { DRAINING, EXITING, LeaderError, PublishError } from "../acks/pending-publish.ts";
import { UnreadableFile } from "../storage/disk/unreadable-file.ts";
import { NotLedHere } from "../topics/not-led-here.ts";
import { TopicWaits } from "../topics/waiting-topic.ts";

/** The codes of publishes that are refused because the broker leaves. */
const LEAVING_CODES = new Map([
  [EXITING, "EXITING"],
  [DRAINING, "DRAINING"],
]);

/** The code of the 503 for an error that may be over later; undefined for another error. */
export function unavailableCode(error: unknown): string | undefined {
  // Not "not found": what was asked for may be there.
  if (error instanceof UnreadableFile) return "FILE_UNREADABLE";
  if (error instanceof TopicWaits) return "TOPIC_NOT_OPEN";
  if (!(error instanceof PublishError)) return undefined;
  // Which partition it is, and what to do then, no code says.
  return LEAVING_CODES.get(error.message) ?? (error instanceof LeaderError || error instanceof NotLedHere ? error.message : "PUB_FAILED");
}
