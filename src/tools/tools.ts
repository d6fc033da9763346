import { runNsqStat } from "./nsq-stat.ts";
import { runNsqTail } from "./nsq-tail.ts";
import { runNsqToFile } from "./nsq-to-file/nsq-to-file.ts";
import { runNsqToHttp } from "./nsq-to-http.ts";
import { runNsqToNsq } from "./nsq-to-nsq.ts";
import { runToNsq } from "./to-nsq.ts";

/** Runs a tool on the words of a command line. @returns the exit code, when it has ended */
export type RunTool = (args: readonly string[]) => Promise<number>;

/** NSQ's small programs, by their names. */
export const TOOLS: Readonly<Record<string, RunTool>> = {
  nsq_stat: runNsqStat,
  nsq_tail: runNsqTail,
  nsq_to_file: runNsqToFile,
  nsq_to_http: runNsqToHttp,
  nsq_to_nsq: runNsqToNsq,
  to_nsq: runToNsq,
};
