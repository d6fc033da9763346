import { writeSync } from "node:fs";
import type { AdminOptions } from "../admin/options.ts";
import type { LogFormat, Logger, LogLevel } from "../base/logger.ts";
import type { BrokerOptions } from "../broker/options.ts";
import type { LookupOptions } from "../lookup/options.ts";
import { type ProgramName, versionLine } from "../version.ts";
import { consoleFlag } from "./admin-flags.ts";
import { runAll } from "./all-process.ts";
import { runBroker } from "./broker-process.ts";
import { clusterErrors } from "./cluster-flags.ts";
import { type Environment, EXIT_FAILED, EXIT_OK, EXIT_USAGE } from "./command/command.ts";
import { configFlag, versionFlag } from "./common-flags.ts";
import { type ConfigFile, ConfigFileError, loadConfigFile, readConfig } from "./config-file.ts";
import { environmentName, readEnvironment } from "./environment.ts";
import type { FlagValue } from "./flag.ts";
import { allFlags, type FlagTable, idleFlags, parseFlags, peekFlag, resolveOptions, UnknownProgram, UsageError } from "./flags.ts";
import { helpPage } from "./help.ts";
import { openLogger } from "./line-logger.ts";
import { runLookup } from "./lookup-process.ts";
import {
  adminFlagsBeside,
  adminProgramFlags,
  allProgramFlags,
  brokerProgramFlags,
  everyModesFlags,
  lookupFlagsBeside,
  lookupProgramFlags,
  modeFlag,
  otherModeOf,
  type Picked,
  programScope,
} from "./modes.ts";
import { type Companion, commandLineLayer, emptyLayer, type Layer, mergeLayers, type Scope } from "./settings.ts";
import { startLine } from "./start-line.ts";

export const STDOUT = 1;
export const STDERR = 2;

/** The server to run. */
export interface Program extends Picked {
  name: ProgramName;
  /** The words of the command line that are flags. */
  args: string[];
}

/** Runs a server with its settings. @returns the exit code, when it has ended. @throws UsageError */
export function runProgram(program: Program, environment: Environment): Promise<number> {
  const everyFlag = everyModesFlags();
  const path = peekFlag(everyFlag, program.args, configFlag.name) ?? environment[environmentName(configFlag)] ?? "";
  const surroundings: Surroundings = { environment, config: path === "" ? undefined : openConfig(path) };
  const mode = program.mode ?? modeOf(peekFlag(everyFlag, program.args, modeFlag.name), surroundings);
  if (mode === "lookup") {
    return run(program, surroundings, lookupProgramFlags(program), "lookup", (options, logger) => {
      logger.info(startLine({ lookup: options }));
      return runLookup(options, logger);
    });
  }
  if (mode === "admin") {
    return run(program, surroundings, adminProgramFlags(program), "admin", async (options, logger) => {
      logger.info(startLine({ admin: options }));
      const { runAdmin } = await import("./admin-process.ts");
      return runAdmin(options, logger);
    });
  }
  if (mode === "broker") {
    return run(program, surroundings, brokerProgramFlags(program), undefined, (options, logger) => {
      logger.info(startLine({ broker: options }));
      logger.info(idLine(options));
      return runBroker(options, logger);
    });
  }
  return run(program, surroundings, allProgramFlags(program), undefined, (options, logger, given) => {
    const lookup = lookupOptionsBeside(options, given);
    const admin = given.get(consoleFlag.name) === false ? undefined : adminOptionsBeside(options, given);
    logger.info(startLine({ broker: options, lookup, admin }));
    logger.info(idLine(options));
    return runAll(
      { options, logger },
      { options: lookup, logger: openLogger(lookup, "lookup") },
      admin && { options: admin, logger: openLogger(admin, "console") },
    );
  });
}

/** The node id, which is in every message id, in nsqd's words. */
function idLine({ nodeId }: BrokerOptions): string {
  return `ID: ${nodeId}`;
}

/** The sources of settings beside the command line. */
interface Surroundings {
  environment: Environment;
  config: ConfigFile | ConfigFileError | undefined;
}

/** Reads the config file before the flags, because it may set the mode. Errors in flags are reported first, so its error is returned. */
function openConfig(path: string): ConfigFile | ConfigFileError {
  try {
    return loadConfigFile(path);
  } catch (error) {
    if (error instanceof ConfigFileError) return error;
    throw error;
  }
}

/** The mode that is asked for. A wrong word counts as the default here, and is refused when the flags are parsed. */
function modeOf(given: string | undefined, { environment, config }: Surroundings): string {
  const inFile = config instanceof Error ? undefined : config?.content[modeFlag.name];
  return String(given ?? (environment[environmentName(modeFlag)] || inFile)).toLowerCase();
}

/** Runs a program. @param given the settings that were given, by flag name @returns whether it ended without an error */
type Serve<Options> = (options: Options, logger: Logger, given: ReadonlyMap<string, FlagValue>) => Promise<boolean>;

/** The options of a lookup server beside a broker. Some default to the broker's. */
function lookupOptionsBeside(broker: BrokerOptions, given: ReadonlyMap<string, FlagValue>): LookupOptions {
  const flags = lookupFlagsBeside();
  const options = resolveOptions(flags, given);
  if (!given.has(flags.options.logLevel.name)) options.logLevel = broker.logLevel;
  if (!given.has(flags.options.logFormat.name)) options.logFormat = broker.logFormat;
  if (!given.has(flags.options.broadcastAddress.name)) options.broadcastAddress = broker.broadcastAddress;
  if (!given.has(flags.options.httpAllowedHosts.name)) options.httpAllowedHosts = broker.httpAllowedHosts;
  if (!given.has(flags.options.httpDebug.name)) options.httpDebug = broker.httpDebug;
  // Both are in one cluster, unless the lookup server has an etcd of its own.
  if (given.has(flags.options.etcdEndpoints.name)) return options;
  const { etcdEndpoints, etcdCa, etcdCert, etcdKey, etcdUser, etcdPasswordFile } = broker;
  const { cluster, clusterLeaseMs, clusterReplicas, minInSync } = broker;
  const etcd = { etcdEndpoints, etcdCa, etcdCert, etcdKey, etcdUser, etcdPasswordFile };
  return { ...options, ...etcd, cluster, clusterLeaseMs, clusterReplicas, minInSync };
}

/** The options of the console beside a broker. Some default to the broker's. */
function adminOptionsBeside(broker: BrokerOptions, given: ReadonlyMap<string, FlagValue>): AdminOptions {
  const flags = adminFlagsBeside();
  const options = resolveOptions(flags, given);
  if (!given.has(flags.options.logLevel.name)) options.logLevel = broker.logLevel;
  if (!given.has(flags.options.logFormat.name)) options.logFormat = broker.logFormat;
  if (!given.has(flags.options.httpAllowedHosts.name)) options.httpAllowedHosts = broker.httpAllowedHosts;
  return options;
}

/** What the lines of a server alone name it in JSON. */
const COMPONENTS = { broker: "broker", lookup: "lookup", admin: "console" } as const;

async function run<Options extends { logFormat: LogFormat; logLevel: LogLevel; logPrefix: string }>(
  program: Program,
  { environment, config }: Surroundings,
  table: FlagTable<Options>,
  alone: Companion | undefined,
  serve: Serve<Options>,
): Promise<number> {
  const { name } = program;
  const { help, given } = parseFlags(table, program.args, (flag) => (name === "bunsq" ? otherModeOf(flag, allFlags(table)) : undefined));
  if (help) {
    // Go's flag package prints it to standard error.
    print(name === "bunsq" ? STDOUT : STDERR, helpPage(name, table));
    return EXIT_OK;
  }
  if (given.get(versionFlag.name) === true) {
    print(STDOUT, `${versionLine(name)}\n`);
    return EXIT_OK;
  }

  const scope = programScope(table, { name, alone });
  const fromEnvironment = readEnvironment(scope, environment);
  if (fromEnvironment.errors.length > 0) throw new UsageError(fromEnvironment.errors.join("\n"));
  const fromConfig = configLayer(scope, config);
  const settings = mergeLayers([commandLineLayer(given), fromEnvironment, fromConfig]);
  const options = resolveOptions(table, settings.values);
  const logger = openLogger(options, COMPONENTS[alone ?? "broker"]);

  const errors = [...settings.errors, ...clusterErrors(table, settings)];
  if (errors.length > 0) {
    for (const error of errors) logger.fatal(error);
    return EXIT_FAILED;
  }
  logger.info(versionLine(name));
  for (const warning of settings.warnings) logger.warn(warning);
  for (const flag of idleFlags(table, settings.values)) {
    logger.warn(`${settings.origins.get(flag.name)} has no effect: ${flag.idle?.why}`);
  }
  return (await serve(options, logger, settings.values)) ? EXIT_OK : EXIT_FAILED;
}

function configLayer(scope: Scope, config: ConfigFile | ConfigFileError | undefined): Layer {
  if (config === undefined) return emptyLayer();
  return config instanceof Error ? { ...emptyLayer(), errors: [config.message] } : readConfig(scope, config);
}

/** Prints to a file descriptor. A reader that has exited (`bunsq --help | head -1`) is not an error. */
export function print(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}

/**
 * Says what is wrong with a command line.
 *
 * @param name as the help of the flags is asked for: `bunsq topic create`
 * @returns the exit code
 */
export function refuseUsage(name: string, error: UsageError): number {
  print(STDERR, `${error.message}\n${error instanceof UnknownProgram ? "" : `see ${name} --help for the flags\n`}`);
  return error.isReadable ? EXIT_FAILED : EXIT_USAGE;
}
