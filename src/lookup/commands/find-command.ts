import type { Command } from "./command.ts";
import { IDENTIFY } from "./identify.ts";
import { PING } from "./ping.ts";
import { REGISTER } from "./register.ts";
import { SETTINGS } from "./settings.ts";
import { UNREGISTER } from "./unregister.ts";

/** Finds a command by its name, which is in upper case; undefined for an unknown name. */
export function findCommand(name: string): Command | undefined {
  switch (name) {
    case "REGISTER":
      return REGISTER;
    case "UNREGISTER":
      return UNREGISTER;
    case "PING":
      return PING;
    case "IDENTIFY":
      return IDENTIFY;
    case "SETTINGS":
      return SETTINGS;
    default:
      return undefined;
  }
}
