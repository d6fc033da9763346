import { Database, type Statement } from "bun:sqlite";

/** `read` is a SELECT, `write` any other statement, and `commit` the end of a transaction of several. */
export type DatabaseCall = "read" | "write" | "commit";

type Method = (...values: unknown[]) => unknown;

const METHODS = ["run", "get", "all", "values"] as const;

const { prepare, query, run } = Database.prototype;

/**
 * Has SQLite's statements call `before` before they run, in all databases of this process that are files, until it is disposed of. What `before`
 * throws, they throw. SQLite itself opens its files, so a failing disk of a test's is not seen by it.
 */
export class FailingDatabase implements Disposable {
  private readonly known = new WeakSet<Statement>();

  constructor(private readonly before: (call: DatabaseCall) => void) {
    const watch = (statement: Statement, sql: string) => this.watch(statement, sql);
    const announce = (sql: string) => this.announce(sql);
    const watching = (real: typeof prepare | typeof query) =>
      function (this: Database, sql: string, ...rest: unknown[]) {
        const statement = Reflect.apply(real, this, [sql, ...rest]);
        return this.filename.startsWith("/") ? watch(statement, sql) : statement;
      };
    Object.assign(Database.prototype, {
      prepare: watching(prepare),
      query: watching(query),
      run(this: Database, sql: string, ...rest: unknown[]) {
        if (this.filename.startsWith("/")) announce(sql);
        return Reflect.apply(run, this, [sql, ...rest]);
      },
    });
  }

  [Symbol.dispose](): void {
    Object.assign(Database.prototype, { prepare, query, run });
  }

  private watch(statement: Statement, sql: string): Statement {
    if (this.known.has(statement)) return statement;
    this.known.add(statement);
    for (const name of METHODS) {
      const method = statement[name] as Method;
      const value = (...values: unknown[]) => {
        this.announce(sql);
        return Reflect.apply(method, statement, values);
      };
      Object.defineProperty(statement, name, { configurable: true, value });
    }
    return statement;
  }

  private announce(sql: string): void {
    const word = /^\s*(\w+)/.exec(sql)?.[1]?.toUpperCase() ?? "";
    if (word === "SELECT") this.before("read");
    else if (word === "COMMIT") this.before("commit");
    // These change nothing on the disk.
    else if (word !== "BEGIN" && word !== "ROLLBACK" && (word !== "PRAGMA" || sql.includes("user_version ="))) this.before("write");
  }
}
