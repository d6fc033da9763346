// What client programs of JavaScript share; test/behaviour/cluster/clients/client-job.ts says what they print.
import { createInterface } from "node:readline";

/** How often a consumer prints what it has got, ms. */
const PRINTED_EACH_MS = 20;

/** @param {string} line */
export function print(line) {
  process.stdout.write(`${line}\n`);
}

/** Ends with the standard input. @param {() => void} stop called for "stop" */
export function obey(stop) {
  const input = createInterface({ input: process.stdin });
  input.on("line", (line) => {
    if (line === "stop") stop();
  });
  input.on("close", () => process.exit(0));
}

/** Prints the numbers of deliveries in their order. */
export class Deliveries {
  /** @type {number[]} */
  #numbers = [];

  constructor() {
    setInterval(() => {
      if (this.#numbers.length > 0) print(`d ${Date.now()} ${this.#numbers.join(" ")}`);
      this.#numbers = [];
    }, PRINTED_EACH_MS);
  }

  /** @param {string} body @param {number | undefined} number */
  add(body, number) {
    if (number === undefined) print(`x ${body}`);
    else this.#numbers.push(number);
  }
}
