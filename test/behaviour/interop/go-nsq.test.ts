import { prepareGoNsq } from "./support/clients.ts";
import { describeClient } from "./support/suite.ts";

describeClient("go-nsq", await prepareGoNsq());
