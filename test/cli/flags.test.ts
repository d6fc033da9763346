import { describe, expect, test } from "bun:test";
import { type FlagTable, helpText, idleFlags, parseFlags, UsageError } from "../../src/cli/flags.ts";

interface Options {
  address: string;
  count: number;
  waitMs: number;
  eager: boolean;
  peers: string[];
  level: "low" | "high";
  shut: "no" | "yes" | "half";
  shares: number[];
}

const table: FlagTable<Options> = {
  options: {
    address: { name: "address", kind: "string", default: "0.0.0.0:1", doc: "where to listen" },
    count: { name: "count", kind: "int", default: 5, min: -16, max: 1000, doc: "how many" },
    waitMs: { name: "wait", kind: "duration", default: 1500, min: 0, max: 3_600_000, doc: "how long" },
    eager: { name: "eager", kind: "bool", default: false, doc: "whether at once" },
    peers: { name: "peer", kind: "list", default: [], doc: "who else" },
    level: { name: "level", kind: "choice", values: ["low", "high"], default: "low", show: (level) => level.toUpperCase(), doc: "how far" },
    shut: {
      name: "shut",
      kind: "choice",
      values: ["no", "yes", "half"],
      aliases: { "0": "no" },
      bare: "yes",
      default: "no",
      doc: "how much",
    },
    shares: { name: "share", kind: "floats", default: [], min: 0, max: 1, doc: "who gets what" },
  },
  others: [
    { name: "soon", kind: "bool", default: true, doc: "how early", idle: { status: "deprecated", why: "use -wait" } },
    { name: "gate", kind: "list", default: [], doc: "which way", idle: { status: "needless", why: "it is open" } },
  ],
};

const parse = (...args: string[]) => parseFlags(table, args).options;

/** The error of a command line. */
function refusal(...args: string[]): string {
  try {
    parseFlags(table, args);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error(`${args.join(" ")} was taken`);
}

describe("a command line", () => {
  test("without words gives the defaults", () => {
    expect(parse()).toEqual({
      address: "0.0.0.0:1",
      count: 5,
      waitMs: 1500,
      eager: false,
      peers: [],
      level: "low",
      shut: "no",
      shares: [],
    });
  });

  test("accepts one dash or two, and a value after = or as the next word", () => {
    for (const args of [["-count=7"], ["--count=7"], ["-count", "7"], ["--count", "7"]]) expect(parse(...args).count).toBe(7);
  });

  test("accepts a value with =, dashes, spaces or line breaks, and an empty one", () => {
    expect(parse("-address=a=b").address).toBe("a=b");
    expect(parse("-address", "-count").address).toBe("-count");
    expect(parse("--address", "--").address).toBe("--");
    expect(parse("-address=a b\nc").address).toBe("a b\nc");
    expect(parse("-address=").address).toBe("");
    expect(parse("-address", "").address).toBe("");
  });

  test("uses the last of several values", () => {
    expect(parse("-count=1", "-count=2").count).toBe(2);
  });

  test("ends at --", () => {
    expect(parse("-count=1", "--").count).toBe(1);
    expect(refusal("--", "-count=1")).toStartWith('unexpected word "-count=1"');
  });

  test("is refused at a word that is not a flag", () => {
    expect(refusal("-count=1", "more")).toStartWith('unexpected word "more"');
    expect(refusal("-")).toStartWith('unexpected word "-"');
    expect(refusal("")).toStartWith('unexpected word ""');
    expect(refusal("-eager", "false")).toStartWith('unexpected word "false"');
  });

  test("is refused if Go calls its syntax bad", () => {
    for (const word of ["---count", "-=7", "--=7", "---"]) expect(refusal(word)).toBe(`bad flag syntax: ${word}`);
  });

  test("is refused for an unknown flag, with the most similar known one", () => {
    expect(refusal("-cuont=1")).toBe("flag provided but not defined: -cuont\ndid you mean -count?");
    expect(refusal("--Peer", "x")).toBe("flag provided but not defined: -Peer\ndid you mean -peer?");
    expect(refusal("-entirely-else")).toBe("flag provided but not defined: -entirely-else");
    expect(refusal("-x")).toBe("flag provided but not defined: -x");
  });

  test("is refused if a value is missing", () => {
    expect(refusal("-count")).toBe("flag needs an argument: -count");
  });

  test("asks for help in each of Go's spellings, whatever follows, but not after an error", () => {
    for (const word of ["-h", "--h", "-help", "--help", "-h=x"]) expect(parseFlags(table, [word, "-nonsense"]).help).toBeTrue();
    expect(refusal("-nonsense", "-h")).toContain("-nonsense");
  });
});

describe("a bool", () => {
  test("is true without a value, and accepts every spelling of Go's after =", () => {
    expect(parse("-eager").eager).toBeTrue();
    for (const word of ["1", "t", "T", "true", "TRUE", "True"]) expect(parse(`-eager=${word}`).eager).toBeTrue();
    for (const word of ["0", "f", "F", "false", "FALSE", "False"]) expect(parse("-eager", `-eager=${word}`).eager).toBeFalse();
  });

  test("is refused in other spellings", () => {
    for (const word of ["yes", "", "tRUE"])
      expect(refusal(`-eager=${word}`)).toBe(`invalid boolean value "${word}" for -eager: parse error: must be true or false`);
  });
});

describe("an int", () => {
  test("accepts each of Go's notations", () => {
    const readings = {
      "0": 0,
      "-0": 0,
      "+7": 7,
      "007": 7,
      "0x1F": 31,
      "0b101": 5,
      "0o17": 15,
      "1_000": 1000,
      "0_7": 7,
      "0x_1": 1,
      "-0x10": -16,
    };
    for (const [text, value] of Object.entries(readings)) expect(parse(`-count=${text}`).count).toBe(value);
  });

  test("is refused in any other notation", () => {
    for (const text of ["08", "1__0", "_1", "1_", "0x", "0b2", "1e3", "1.5", "", " 1", "one"]) {
      expect(refusal(`-count=${text}`)).toBe(`invalid value "${text}" for flag -count: parse error: must be a whole number`);
    }
  });

  test("beyond 64 bits is out of range, in Go's words", () => {
    for (const text of ["9223372036854775808", "-9223372036854775809", "99999999999999999999"]) {
      expect(refusal(`-count=${text}`)).toBe(`invalid value "${text}" for flag -count: value out of range`);
    }
  });

  test("may equal its bounds, but not exceed them", () => {
    expect(parse("-count=-16").count).toBe(-16);
    expect(parse("-count=1000").count).toBe(1000);
    expect(refusal("-count=-17")).toBe('invalid value "-17" for flag -count: must be from -16 to 1000');
    expect(refusal("-count", "1001")).toBe('invalid value "1001" for flag -count: must be from -16 to 1000');
  });
});

describe("a duration flag", () => {
  test("is stored in milliseconds", () => {
    expect(parse("-wait=1m2.5s").waitMs).toBe(62_500);
    expect(parse("-wait=100us").waitMs).toBe(0.1);
    expect(parse("-wait=0").waitMs).toBe(0);
  });

  test("is refused without a unit and beyond its bounds", () => {
    expect(refusal("-wait=100")).toBe('invalid value "100" for flag -wait: parse error: must be a duration, as in 100s or 100ms');
    expect(refusal("-wait=soon")).toBe('invalid value "soon" for flag -wait: parse error: must be a duration, as in 1m30s or 250ms');
    expect(refusal("-wait=2h")).toBe('invalid value "2h" for flag -wait: must be from 0s to 1h0m0s');
    expect(refusal("-wait=-1ns")).toBe('invalid value "-1ns" for flag -wait: must be from 0s to 1h0m0s');
  });
});

describe("a list", () => {
  test("collects repeated flags and values separated by commas, in order", () => {
    expect(parse("-peer=a:1", "--peer", "b:2,c:3", "-peer=").peers).toEqual(["a:1", "b:2", "c:3"]);
  });
});

describe("a choice", () => {
  test("accepts its words in any case, and no other word", () => {
    expect(parse("-level=HIGH").level).toBe("high");
    expect(refusal("-level=middle")).toBe('invalid value "middle" for flag -level: must be one of low, high');
  });

  test("that has a value when bare accepts another one only after =, and accepts aliases", () => {
    expect(parse("-shut").shut).toBe("yes");
    expect(parse("-shut=Half").shut).toBe("half");
    expect(parse("-shut", "-shut=0").shut).toBe("no");
    expect(refusal("-shut", "half")).toStartWith('unexpected word "half"');
  });
});

describe("a list of numbers", () => {
  test("collects repeated flags and values separated by commas, each within the bounds", () => {
    expect(parse("-share=0.5,.25", "-share", "1e-3,", "-share=").shares).toEqual([0.5, 0.25, 0.001]);
    expect(refusal("-share=0.5,x")).toBe('invalid value "0.5,x" for flag -share: parse error: must be numbers, as in 0.99,0.95');
    expect(refusal("-share=1.5")).toBe('invalid value "1.5" for flag -share: must be from 0 to 1 each');
    for (const text of ["0x1", "Infinity", "1e999", "-", ".", "1 2"]) expect(refusal(`-share=${text}`)).toContain(": parse error");
  });
});

describe("a quoted value in a message", () => {
  test("shows control characters and quotes as Go's %q does", () => {
    expect(refusal('-count=a"\x1b[31m\n\u00e9')).toBe(
      'invalid value "a\\"\\x1b[31m\\n\u00e9" for flag -count: parse error: must be a whole number',
    );
  });
});

describe("flags without effect", () => {
  const idle = (...args: string[]) => idleFlags(table, parseFlags(table, args).given).map((flag) => flag.name);

  test("are listed if they are set to another value than the default", () => {
    expect(idle("-soon=false", "-gate=y", "-count=1")).toEqual(["gate", "soon"]);
    expect(idle("-gate=", "-soon")).toEqual([]);
    expect(idle()).toEqual([]);
  });
});

describe("help", () => {
  test("has the layout of Go's flag package", () => {
    expect(helpText("thing", table)).toBe(
      [
        "Usage of thing:",
        "  -address string",
        '    \twhere to listen (default "0.0.0.0:1")',
        "  -count int",
        "    \thow many (default 5)",
        "  -eager",
        "    \twhether at once",
        "  -gate value",
        "    \twhich way [no effect]",
        "  -level value",
        "    \thow far (default LOW)",
        "  -peer value",
        "    \twho else",
        "  -share value",
        "    \twho gets what",
        "  -shut",
        "    \thow much (default no)",
        "  -soon",
        "    \thow early [deprecated] (default true)",
        "  -wait duration",
        "    \thow long (default 1.5s)",
        "",
      ].join("\n"),
    );
  });
});
