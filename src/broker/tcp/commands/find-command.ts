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

/** The command of a line, by its first word; nsqd's names are case-sensitive. */
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
      return line.text(0) === "TOUCH" ? TOUCH : undefined;
    case 8:
      return line.text(0) === "IDENTIFY" ? IDENTIFY : undefined;
  }
  return undefined;
}
