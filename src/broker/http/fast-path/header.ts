import { NO_BYTES } from "../../../frame/header.ts";
import type { Topic } from "../../topics/topic.ts";
import { headerOfFields } from "../message-header.ts";
import type { RequestHead } from "./request-head.ts";

/** The header that was made last for a content type alone: most producers send one kind of message. */
let lastType: Buffer = Buffer.alloc(0);
let lastHeader: Uint8Array = NO_BYTES;

/** The encoded header of the messages of a request. Empty: none. @param head of the request, which was parsed in `bytes` */
export function headerOf(head: RequestHead, bytes: Buffer, topic: Topic): Uint8Array {
  const { traceparentStart, traceparentEnd, tracestateStart, tracestateEnd, contentTypeStart, contentTypeEnd } = head;
  if ((traceparentEnd === 0 && contentTypeEnd === 0) || topic.settings.extended === false) return NO_BYTES;
  if (traceparentEnd === 0) {
    if (bytes.compare(lastType, 0, lastType.length, contentTypeStart, contentTypeEnd) === 0) return lastHeader;
    lastHeader = headerOfFields({ contentType: bytes.toString("latin1", contentTypeStart, contentTypeEnd) });
    lastType = Buffer.from(bytes.subarray(contentTypeStart, contentTypeEnd));
    return lastHeader;
  }
  return headerOfFields({
    traceparent: bytes.toString("latin1", traceparentStart, traceparentEnd),
    tracestate: tracestateEnd === 0 ? undefined : bytes.toString("latin1", tracestateStart, tracestateEnd),
    contentType: contentTypeEnd === 0 ? undefined : bytes.toString("latin1", contentTypeStart, contentTypeEnd),
  });
}
