import { expect, test } from "bun:test";
import { describeUnless, missing } from "../support/needs.ts";
import { runTool, withoutTime } from "./support/tool.ts";

/** Nothing listens here. */
const NOWHERE = "127.0.0.1:1";

/** Command lines on which the tools end by themselves. */
const LINES: Record<string, string[][]> = {
  to_nsq: [
    [],
    ["-topic=t"],
    ["-topic=t", "-delimiter=ab", `-nsqd-tcp-address=${NOWHERE}`],
    ["-topic=t", "-delimiter=", `-nsqd-tcp-address=${NOWHERE}`],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`],
    ["-topic"],
    ["-rate=x"],
    ["-rate=99999999999999999999"],
    ["-producer-opt=nonsense,1"],
    ["-producer-opt=heartbeat_interval,100"],
    ["-producer-opt=deflate_level,10"],
    ["-producer-opt=deflate-level,0"],
    ["-producer-opt=snappy,maybe"],
    ["-producer-opt=max_requeue_delay,2h"],
    ["-producer-opt=tls_root_ca_file,/nowhere/ca.pem"],
    ["-producer-opt=tls_min_version,tls9"],
  ],
  nsq_tail: [
    [],
    ["-topic=t"],
    [`-nsqd-tcp-address=${NOWHERE}`],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, `-lookupd-http-address=${NOWHERE}`],
    ["-topic=b@d", "-channel=c", `-nsqd-tcp-address=${NOWHERE}`],
    ["-topic=t", "-channel=b@d", `-nsqd-tcp-address=${NOWHERE}`],
    ["-topic=t", "-channel=c", "-max-in-flight=-1", `-nsqd-tcp-address=${NOWHERE}`],
    ["-topic=t", "-channel=c", "-consumer-opt=heartbeat_interval,100s", `-nsqd-tcp-address=${NOWHERE}`],
    ["-n=x"],
    ["-print-topic=maybe"],
    ["-consumer-opt=sample_rate,100"],
    ["-consumer-opt=lookupd_poll_jitter,1.5"],
  ],
  nsq_stat: [
    [],
    ["-topic=t"],
    ["-topic=t", "-channel=c"],
    ["-topic=t", "-channel=c", "-interval=0s"],
    ["-topic=t", "-channel=c", "-http-client-connect-timeout=0s"],
    ["-topic=t", "-channel=c", "-http-client-request-timeout=-1s"],
    ["-topic=t", "-channel=c", "-count=0"],
    ["-topic=t", "-channel=c", "-nsqd-http-address=http://x"],
    ["-topic=t", "-channel=c", "-lookupd-http-address=https://x"],
    ["-topic=t", "-channel=c", "-lookupd-http-address=x", "-nsqd-http-address=x"],
    ["-interval=5"],
  ],
  nsq_to_file: [
    [],
    ["-channel="],
    ["-log-level=loud"],
    ["-http-client-connect-timeout=0s"],
    ["-http-client-request-timeout=0s"],
    [`-nsqd-tcp-address=${NOWHERE}`, `-lookupd-http-address=${NOWHERE}`],
    [`-nsqd-tcp-address=${NOWHERE}`, "-gzip-level=10"],
    [`-nsqd-tcp-address=${NOWHERE}`],
    [`-nsqd-tcp-address=${NOWHERE}`, "-topic-pattern=t"],
    ["-rotate-size=x"],
    ["-sync-interval=x"],
  ],
  nsq_to_nsq: [
    [],
    ["-topic=t"],
    ["-topic=t", "-channel="],
    ["-topic=t", "-topic=b@d"],
    ["-topic=t", "-destination-topic=b@d"],
    ["-topic=t", "-channel=b@d"],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, `-lookupd-http-address=${NOWHERE}`],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, `-destination-nsqd-tcp-address=${NOWHERE}`, "-status-every=0"],
    ["-status-every=x"],
    ["-producer-opt=nonsense,1"],
    ["-consumer-opt=nonsense"],
  ],
  nsq_to_http: [
    [],
    ["-topic=t", "-channel="],
    ["-topic=t"],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, `-lookupd-http-address=${NOWHERE}`],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, "-post=http://x", "-get=http://x/%s"],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, "-get=http://x/"],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, "-get=http://x/%s%s"],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, "-get=http://x/%s", "-content-type=text/plain"],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, "-post=http://x/", "-content-type="],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, "-post=http://x/", "-sample=1.5"],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, "-post=http://x/", "-sample=-0.5"],
    ["-topic=t", `-nsqd-tcp-address=${NOWHERE}`, "-post=http://x/", "-status-every=0"],
    ["-header=nonsense"],
    ["-header=a:"],
    ["-sample=x"],
  ],
};

/** The flags that NSQ's tools do not have (docs/tools.md). */
const OWN_FLAGS: Record<string, string[]> = { to_nsq: ["-header", "-key"], nsq_tail: ["-print-headers"], nsq_to_nsq: ["-ordered"] };
/** Such a flag in the help: its name, and a line that says so. */
const OWN_FLAG = /^ {2}-.*\n.*not in NSQ's tool\).*\n/gm;

const HELP = ["-h", "-help", "--help"];

describeUnless(missing(...Object.keys(LINES)))("as Go's tool, for the same command line,", () => {
  for (const [name, lines] of Object.entries(LINES)) {
    for (const args of lines) {
      test(`${name} ${args.join(" ")}: ends with the same exit code and first error`, async () => {
        const [ours, theirs] = await Promise.all([runTool("bunsq", name, args, "a\n"), runTool("nsq", name, args, "a\n")]);
        expect(ours).toMatchObject({ code: theirs.code, stdout: theirs.stdout });
        const [ourLine, theirLine] = [ours, theirs].map(({ stderr }) => withoutTime(stderr.split("\n", 1)[0] ?? ""));
        // The system's own errors are told in other words. A reason that we give behind Go's text is no difference.
        if (!theirLine?.includes("connecting to nsqd")) expect(ourLine).toStartWith(theirLine ?? "");
        expect(ours.stderr.includes("Usage of")).toBe(theirs.stderr.includes("Usage of"));
      }, 30_000);
    }

    test(`${name} prints the same help, but for the flags that it says are ours`, async () => {
      const theirs = await runTool("nsq", name, ["-h"]);
      for (const flag of HELP) {
        const ours = await runTool("bunsq", name, [flag]);
        // Go's tools print the path that they were started by; nsq_to_file calls itself nsqd there.
        const own = ours.stderr.match(OWN_FLAG)?.map((found) => found.trim().split(/\s/, 1)[0]) ?? [];
        expect(own).toEqual(OWN_FLAGS[name] ?? []);
        ours.stderr = ours.stderr.replaceAll(OWN_FLAG, "");
        expect(ours).toEqual({ ...theirs, stderr: theirs.stderr.replace(/^Usage of \S+:/, `Usage of ${name}:`) });
      }
    }, 30_000);

    test(`${name} prints its version as Go's tool, and ours`, async () => {
      const [ours, theirs] = await Promise.all([runTool("bunsq", name, ["-version"]), runTool("nsq", name, ["-version"])]);
      // to_nsq has no such flag.
      expect(ours.code).toBe(theirs.code);
      if (theirs.code === 0) expect(ours.stdout).toStartWith(theirs.stdout.trim());
    }, 30_000);
  }
});
