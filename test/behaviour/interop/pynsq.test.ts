import { preparePynsq } from "./support/clients.ts";
import { describeClient } from "./support/suite.ts";

describeClient("pynsq", await preparePynsq(), 10_000);
