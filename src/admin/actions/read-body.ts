import { Refusal } from "../../http/server/reply.ts";
import type { UnpermittedCall } from "../access/permission.ts";

/**
 * Reads the JSON of a request that changes something. It must say that it is JSON, because a form on another page can send any other
 * type without the browser asking this server first.
 *
 * @throws Refusal 400, 413, 415
 */
export async function readBody(call: UnpermittedCall, limitBytes: number): Promise<unknown> {
  const type = call.request.headers.get("content-type") ?? "";
  if (!/^application\/json\s*(;|$)/i.test(type)) throw new Refusal(415, "INVALID_CONTENT_TYPE");
  const body = await call.body(limitBytes, "BODY_TOO_LARGE");
  try {
    return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString());
  } catch {
    throw new Refusal(400, "INVALID_BODY");
  }
}
