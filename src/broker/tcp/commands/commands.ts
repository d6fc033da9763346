import type { Line } from "../../../frame/line.ts";
import { AUTH } from "./auth.ts";
import { CLS } from "./cls.ts";
import type { Command } from "./command.ts";
import { DPUB } from "./dpub.ts";
import { FIN } from "./fin.ts";
import { IDENTIFY } from "./identify.ts";
import { MPUB } from "./mpub.ts";
import { NOP } from "./nop.ts";
import { PUB } from "./pub.ts";
import { RDY } from "./rdy.ts";
import { REQ } from "./req.ts";
import { SUB } from "./sub.ts";
import { TOUCH } from "./touch.ts";
import { YOUZAN_FIN, YOUZAN_REQ, YOUZAN_TOUCH } from "./youzan/fin.ts";
import { INTERNAL_CREATE_TOPIC } from "./youzan/internal-create-topic.ts";
import { MPUB_EXT, MPUB_TRACE, YOUZAN_MPUB } from "./youzan/mpub.ts";
import { DPUB_EXT, PUB_EXT, PUB_TRACE, YOUZAN_PUB } from "./youzan/pub.ts";
import { SUB_ADVANCED, SUB_ORDERED, YOUZAN_SUB } from "./youzan/sub.ts";

const TOUCH_VERB = Buffer.from("TOUCH");
const DPUB_EXT_VERB = Buffer.from("DPUB_EXT");
const IDENTIFY_VERB = Buffer.from("IDENTIFY");

/** The command that a line begins with. The names are case-sensitive, as in nsqd. */
export function findCommand(line: Line): Command | undefined {
  switch (line.length(0)) {
    case 3:
      switch (line.key(0)) {
        case 0x46494e:
          return FIN;
        case 0x524459:
          return RDY;
        case 0x505542:
          return PUB;
        case 0x524551:
          return REQ;
        case 0x4e4f50:
          return NOP;
        case 0x535542:
          return SUB;
        case 0x434c53:
          return CLS;
      }
      return undefined;
    case 4:
      switch (line.key(0)) {
        case 0x4d505542:
          return MPUB;
        case 0x44505542:
          return DPUB;
        case 0x41555448:
          return AUTH;
      }
      return undefined;
    case 5:
      return line.is(0, TOUCH_VERB) ? TOUCH : undefined;
    case 8:
      return line.is(0, DPUB_EXT_VERB) ? DPUB_EXT : line.is(0, IDENTIFY_VERB) ? IDENTIFY : undefined;
  }
  return undefined;
}

/** The commands that only Youzan's clients have, the most frequent ones first. */
const YOUZAN_VERBS: readonly { readonly verb: Uint8Array; readonly command: Command }[] = Object.entries({
  PUB_EXT,
  MPUB_EXT,
  PUB_TRACE,
  MPUB_TRACE,
  SUB_ADVANCED,
  SUB_ORDERED,
  INTERNAL_CREATE_TOPIC,
}).map(([verb, command]) => ({ verb: Buffer.from(verb), command }));

/** The command that a line begins with, if only Youzan's clients have it. A client that sends one speaks Youzan's form from then on. */
export function findYouzanVerb(line: Line): Command | undefined {
  for (const { verb, command } of YOUZAN_VERBS) if (line.is(0, verb)) return command;
  return undefined;
}

/** The command that a line of a client begins with that speaks Youzan's form of the protocol. */
export function findYouzanCommand(line: Line): Command | undefined {
  const command = findCommand(line);
  switch (command) {
    case FIN:
      return YOUZAN_FIN;
    case REQ:
      return YOUZAN_REQ;
    case TOUCH:
      return YOUZAN_TOUCH;
    case PUB:
      return YOUZAN_PUB;
    case MPUB:
      return YOUZAN_MPUB;
    case SUB:
      return YOUZAN_SUB;
    case undefined:
      return findYouzanVerb(line);
  }
  return command;
}
