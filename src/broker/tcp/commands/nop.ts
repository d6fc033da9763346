import type { Command } from "./command.ts";

/** `NOP\n`: says only that the client lives. https://nsq.io/clients/tcp_protocol_spec.html#nop */
export const NOP: Command = {
  execute: () => undefined,
};
