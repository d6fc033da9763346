/** A text that is no JSON path. */
export class JsonPathError extends Error {
  override name = "JsonPathError";
}

type Step = { name: string } | { index: number } | "all";
type Operator = "=" | "!=" | "<" | ">" | "~";

const NAME = /\.([\p{L}_$][\p{L}\p{N}_$-]*)/uy;
const QUOTED_NAME = /\[\s*("(?:[^"\\]|\\.)*")\s*\]/y;
const INDEX = /\[\s*(\d{1,9})\s*\]/y;
const ALL = /\.\*|\[\s*\*\s*\]/y;
const OPERATOR = /\s*(!=|==?|<|>|~)\s*/y;
const MAX_STEPS = 100;
/** Values that a path with `*` may lead to. */
const MAX_VALUES = 10_000;

/**
 * A test of a JSON value: `$.a.b[0] = "x"`. The path has `.name`, `["any name"]`, `[0]`, and `.*` or `[*]` for all members. Behind it may be
 * `=`, `!=`, `<`, `>` or `~` (a part of the text) and a JSON literal; without that, the value must be there. A path that leads to several
 * values fits if one of them does. `!=` fits only values that are there. `<` and `>` compare numbers with numbers and
 * texts with texts.
 */
export class JsonPath {
  private readonly steps: Step[] = [];
  private readonly operator: Operator | undefined;
  private readonly operand: unknown;

  /** @throws JsonPathError */
  constructor(source: string) {
    const text = source.trim();
    if (!text.startsWith("$")) throw new JsonPathError("a path begins with $");
    let at = 1;
    const accept = (form: RegExp): RegExpExecArray | undefined => {
      form.lastIndex = at;
      const match = form.exec(text) ?? undefined;
      if (match !== undefined) at += match[0].length;
      return match;
    };
    for (let step = nextStep(accept); step !== undefined; step = nextStep(accept)) {
      if (this.steps.push(step) > MAX_STEPS) throw new JsonPathError("the path is too long");
    }
    if (at === text.length) return;
    const operator = accept(OPERATOR)?.[1];
    if (operator === undefined) throw new JsonPathError(`${text.slice(at, at + 20)} is no part of a path, and no operator`);
    this.operator = operator === "==" ? "=" : (operator as Operator);
    const operand = literal(text.slice(at));
    if (operand !== null && typeof operand === "object")
      throw new JsonPathError("a value to compare with is a text in quotes, a number, true, false or null");
    if (this.operator === "~" && typeof operand !== "string") throw new JsonPathError("~ needs a text in quotes");
    this.operand = operand;
  }

  fits(document: unknown): boolean {
    let values: unknown[] = [document];
    for (const step of this.steps) values = values.flatMap((value) => membersOf(value, step)).slice(0, MAX_VALUES);
    return values.some((value) => this.fitsValue(value));
  }

  private fitsValue(value: unknown): boolean {
    const { operator, operand } = this;
    switch (operator) {
      case undefined:
        return true;
      case "=":
        return value === operand;
      case "!=":
        return value !== operand;
      case "~":
        return typeof value === "string" && typeof operand === "string" && value.includes(operand);
      default: {
        const areNumbers = typeof value === "number" && typeof operand === "number";
        const areTexts = typeof value === "string" && typeof operand === "string";
        return (areNumbers || areTexts) && (operator === "<" ? value < operand : value > operand);
      }
    }
  }
}

function nextStep(accept: (form: RegExp) => RegExpExecArray | undefined): Step | undefined {
  const name = accept(NAME)?.[1];
  if (name !== undefined) return { name };
  const quoted = accept(QUOTED_NAME)?.[1];
  if (quoted !== undefined) return { name: String(literal(quoted)) };
  const index = accept(INDEX)?.[1];
  if (index !== undefined) return { index: Number(index) };
  return accept(ALL) === undefined ? undefined : "all";
}

function literal(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new JsonPathError(`${text === "" ? "nothing" : text.slice(0, 20)} is no JSON literal: put a text in quotes`);
  }
}

function membersOf(value: unknown, step: Step): unknown[] {
  if (typeof value !== "object" || value === null) return [];
  if (step === "all") return Object.values(value);
  if ("index" in step) return Array.isArray(value) && step.index < value.length ? [value[step.index]] : [];
  return !Array.isArray(value) && Object.hasOwn(value, step.name) ? [(value as Record<string, unknown>)[step.name]] : [];
}
