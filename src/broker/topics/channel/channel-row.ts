import type { ChannelRow } from "../../storage/metadata/rows.ts";
import type { Channel } from "./channel.ts";
import { encodeProgress, type Range } from "./progress.ts";

/** What the metadata store keeps of a channel. @param skipped messages that are finished here too */
export function channelRow({ id, topic, name, paused, deferrals, backlog, floor }: Channel, skipped?: Range): ChannelRow {
  const { voidBefore, requeuesVoidBefore } = deferrals;
  const progress = encodeProgress(backlog.progressWith(skipped), floor);
  return { id, topicId: topic.id, name, paused, voidBefore, requeuesVoidBefore, floor, progress };
}
