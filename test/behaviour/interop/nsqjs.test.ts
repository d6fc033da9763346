import { prepareNsqjs } from "./support/clients.ts";
import { describeClient } from "./support/suite.ts";

describeClient("nsqjs", prepareNsqjs(), 10_000);
