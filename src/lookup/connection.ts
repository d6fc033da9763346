import { fatal, type ProtocolError } from "../frame/error.ts";
import { IDENTIFY } from "./commands/identify.ts";
import { PING } from "./commands/ping.ts";
import { REGISTER } from "./commands/register.ts";
import { UNREGISTER } from "./commands/unregister.ts";
import { Inbox } from "./inbox.ts";
import type { LookupContext } from "./lookup-server.ts";
import type { Producer } from "./producer.ts";
import { encodeResponse } from "./response.ts";
import { trimSpace, unfinishedLine } from "./text.ts";

/** How a client says that it speaks this protocol. */
const MAGIC_V1 = "  V1";
/** Longer lines end the connection: a command with the longest names needs 140 bytes. nsqlookupd has no bound. */
const MAX_LINE_BYTES = 16 * 1024;
/** A broker says 200 bytes of itself. nsqlookupd has no bound. */
const MAX_BODY_BYTES = 64 * 1024;
/** With more than this many commands at once, others get their turn in between. */
const COMMANDS_PER_TURN = 256;
/** How long a client may take to read our last words and to hang up. */
const LINGER_MS = 2000;
const SIZE_BYTES = 4;

const enum Mode {
  Magic,
  Line,
  Size,
  Body,
}
