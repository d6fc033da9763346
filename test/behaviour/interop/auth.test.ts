import { afterAll, describe, expect } from "bun:test";
import { AuthServer, granted } from "../../support/auth-server.ts";
import { prepareGoNsq, prepareNsqjs, preparePynsq } from "./support/clients.ts";
import { describeFlood, type Setting } from "./support/suite.ts";

const SECRET = "s3cret";

// The topic's name alone, so that a permission which is not looked at would show.
const only = { topic: "^flood$", channels: ["^ch$", "^$"], permissions: ["publish", "subscribe"] };
const server = new AuthServer(({ fields }) => (fields.secret === SECRET ? granted([only], { ttl: 1 }) : new Response("", { status: 403 })));
afterAll(() => server[Symbol.asyncDispose]());

function setting(options: object): Setting {
  return {
    args: () => [`--auth-http-address=${server.address}`],
    options,
    check: () => {
      // Producer and consumer each, and the producer again when its permissions have ended.
      expect(server.questions.length).toBeGreaterThanOrEqual(2);
      server.questions.length = 0;
    },
  };
}

const goNsq = await prepareGoNsq();
const pynsq = await preparePynsq();

describe("with AUTH", () => {
  describeFlood("nsqjs", prepareNsqjs(), setting({ authSecret: SECRET }));
  describeFlood("go-nsq", goNsq, setting({ auth_secret: SECRET }));
  describeFlood("pynsq", pynsq, setting({ auth_secret: SECRET }));
});
