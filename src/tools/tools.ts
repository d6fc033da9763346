/** Runs a tool on the words of a command line. @returns the exit code, when it has ended */
export type RunTool = (args: readonly string[]) => Promise<number>;

/** NSQ's small programs, by their names. Each is loaded when it is run, so that a broker's process has none of them in its memory. */
export const TOOLS: Readonly<Record<string, RunTool>> = {
  nsq_stat: async (args) => (await import("./nsq-stat.ts")).runNsqStat(args),
  nsq_tail: async (args) => (await import("./nsq-tail.ts")).runNsqTail(args),
  nsq_to_file: async (args) => (await import("./nsq-to-file/nsq-to-file.ts")).runNsqToFile(args),
  nsq_to_http: async (args) => (await import("./nsq-to-http.ts")).runNsqToHttp(args),
  nsq_to_nsq: async (args) => (await import("./nsq-to-nsq.ts")).runNsqToNsq(args),
  to_nsq: async (args) => (await import("./to-nsq.ts")).runToNsq(args),
};
