import type { Command } from "./command.ts";

/** `NOP\n`: the client is alive. https://nsq.io/clients/tcp_protocol_spec.html#nop */
export const NOP: Command = {
  execute: () => undefined,
};
