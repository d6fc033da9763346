import { posix } from "node:path";
import { systemClock } from "../base/clock.ts";
import type { DescriptorBudget, DescriptorShare } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { RateLimitedLog } from "../base/rate-limited-log.ts";
import { StartError } from "../base/start-error.ts";
import { Scrapes } from "../http/metrics/scrape.ts";
import { parseAddress } from "../net/address.ts";
import { Access } from "./access/access.ts";
import { TrustedProxies } from "./access/trusted-proxies.ts";
import { ConsoleActions } from "./actions/console-actions.ts";
import { Audit } from "./audit/audit.ts";
import { AuditFile } from "./audit/audit-file.ts";
import { BulkActions } from "./messages/bulk-actions.ts";
import { Tails } from "./messages/tail.ts";
import { Notifications } from "./notify/notifications.ts";
import { Actions } from "./nsqadmin/actions.ts";
import { parseNetwork } from "./nsqadmin/network.ts";
import type { AdminOptions } from "./options.ts";
import { Streams } from "./stream/streams.ts";
import { Discovery } from "./upstream/discovery.ts";
import { Upstream } from "./upstream/upstream.ts";
import { Views } from "./views/views.ts";
import { Watcher } from "./watch/watcher.ts";

/**
 * HTTP clients are sure of this part of the descriptors that are shared, and of no more than so many. A client takes three. More would
 * be missing where many connect at once, at a lookup server beside the console; few people look at the console.
 */
const GUARANTEED_PART = 1 / 16;
const MOST_GUARANTEED = 15;

/** The state that all parts of the console share. */
export class Admin {
  /** A copy, because PUT /config changes it. */
  readonly options: AdminOptions;
  readonly upstream: Upstream;
  readonly discovery: Discovery;
  readonly actions: Actions;
  /** The proxies in front of the console whose headers are believed. */
  readonly proxies: TrustedProxies;
  /** Who may do what. */
  readonly access: Access;
  readonly consoleActions: ConsoleActions;
  readonly bulkActions: BulkActions;
  readonly tails: Tails;
  /** Undefined without --notification-http-endpoint. */
  readonly notifications: Notifications | undefined;
  /** What operators have done. */
  readonly audit: Audit;
  /** Whether a client's address is one from which /config may be asked; undefined: any may. */
  readonly configNetwork: ((address: string) => boolean) | undefined;
  readonly watcher: Watcher;
  readonly views: Views;
  readonly streams: Streams;
  readonly scrapes = new Scrapes();
  /** For errors that may come many times a second. */
  readonly rateLimitedLog: RateLimitedLog;
  readonly clientDescriptors: { readonly http: DescriptorShare };

  /**
   * @param flagPrefix in front of the names of its flags in errors: `admin-` if a broker runs in the same process
   * @throws StartError for options that do not fit each other
   */
  constructor(
    options: AdminOptions,
    readonly logger: Logger,
    readonly descriptors: DescriptorBudget,
    readonly flagPrefix = "",
  ) {
    this.options = { ...options, basePath: normalBasePath(options.basePath) };
    this.checkAddresses();
    this.proxies = new TrustedProxies(this.flagName("trusted-proxies"), options.trustedProxies);
    this.access = this.openAccess();
    this.upstream = new Upstream(this.options, flagPrefix);
    this.discovery = new Discovery(this.upstream, this.options);
    this.actions = new Actions(this);
    this.watcher = new Watcher(
      {
        brokers: () => this.options.nsqdHttpAddresses,
        lookups: () => this.options.lookupdHttpAddresses,
        sights: () => this.access.sights,
        pollMs: this.options.pollIntervalMs,
        historyBytes: this.options.historySizeBytes,
      },
      this.upstream,
      logger,
      systemClock,
    );
    this.upstream.onChange = (server) => this.watcher.noteChange(server);
    this.views = new Views(this.watcher);
    this.streams = new Streams(this.views, this.watcher, logger);
    this.consoleActions = new ConsoleActions(this);
    this.bulkActions = new BulkActions(this);
    this.tails = new Tails(this);
    this.rateLimitedLog = new RateLimitedLog(logger);
    const endpoint = this.urlOf("notification-http-endpoint", options.notificationHttpEndpoint);
    this.notifications = endpoint && new Notifications(endpoint, this);
    const file = options.auditLog === "" ? undefined : new AuditFile(options.auditLog, this.rateLimitedLog);
    this.audit = new Audit({ logger, file, notifications: this.notifications });
    this.audit.subscribe((activity) => this.streams.tell(activity));
    if (options.proxyGraphite && this.urlOf("graphite-url", options.graphiteUrl) === undefined) {
      throw new StartError(`--${this.flagName("proxy-graphite")} needs --${this.flagName("graphite-url")}`);
    }
    this.configNetwork = parseNetwork(this.flagName("allow-config-from-cidr"), options.allowConfigFromCidr);
    this.clientDescriptors = { http: descriptors.share(() => false, GUARANTEED_PART, MOST_GUARANTEED) };
  }

  /** Begins to watch brokers and lookups. */
  start(): void {
    this.access.watch();
    this.watcher.start();
  }

  /** Ends what is under way for pages, before the listener is closed, and watches no more. */
  close(): void {
    this.access.close();
    this.tails.close();
    this.streams.close();
    this.watcher.close();
    this.views.close();
  }

  /** The name of a flag as it is on the command line, with its prefix. */
  flagName(name: string): string {
    return this.flagPrefix + name;
  }

  private openAccess(): Access {
    const { accessFile, adminUsers } = this.options;
    if (accessFile !== "" && adminUsers.length > 0) {
      throw new StartError(`use --${this.flagName("access-file")} or --${this.flagName("admin-user")}, not both`);
    }
    return new Access(accessFile, this.options, this.logger, systemClock);
  }

  /** The URL that a flag gives; undefined if it is empty. */
  private urlOf(flag: string, text: string): URL | undefined {
    if (text === "") return undefined;
    if (!/^https?:\/\//.test(text) || !URL.canParse(text)) {
      throw new StartError(`failed to parse --${this.flagName(flag)} (${text}) - it must be a URL, as http://host:port/path`);
    }
    return new URL(text);
  }

  private checkAddresses(): void {
    const { lookupdHttpAddresses: lookups, nsqdHttpAddresses: brokers } = this.options;
    const lookupFlag = `--${this.flagName("lookupd-http-address")}`;
    const brokerFlag = `--${this.flagName("nsqd-http-address")}`;
    if (brokers.length === 0 && lookups.length === 0) throw new StartError(`${brokerFlag} or ${lookupFlag} required`);
    if (brokers.length > 0 && lookups.length > 0) throw new StartError(`use ${brokerFlag} or ${lookupFlag} not both`);
    for (const address of lookups) checkAddress(lookupFlag, address);
    for (const address of brokers) checkAddress(brokerFlag, address);
  }
}

/** A host name that cannot be resolved now is no reason not to start: what is down shows as down. */
function checkAddress(flag: string, address: string): void {
  try {
    parseAddress(address);
  } catch (error) {
    throw new StartError(`failed to resolve ${flag} (${address}) - ${(error as Error).message}`);
  }
}

/** A base path with a slash at its beginning and none at its end, except for the root. */
function normalBasePath(path: string): string {
  return posix.resolve("/", path);
}
