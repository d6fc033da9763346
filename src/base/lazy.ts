let snappy: typeof import("snappy") | undefined;
let crc32: typeof import("@node-rs/crc32") | undefined;

/**
 * Modules that most brokers never use, loaded at their first use. node:net, node:tls, node:zlib, node:crypto and
 * node:inspector each load node's streams, which take 6 MB of an idle process; snappy's native part takes another 8 MB.
 */
export const lazy = {
  get net(): typeof import("node:net") {
    return process.getBuiltinModule("node:net");
  },
  get tls(): typeof import("node:tls") {
    return process.getBuiltinModule("node:tls");
  },
  get zlib(): typeof import("node:zlib") {
    return process.getBuiltinModule("node:zlib");
  },
  get crypto(): typeof import("node:crypto") {
    return process.getBuiltinModule("node:crypto");
  },
  get inspector(): typeof import("node:inspector/promises") {
    return process.getBuiltinModule("node:inspector/promises");
  },
  get dns(): typeof import("node:dns/promises") {
    return process.getBuiltinModule("node:dns/promises");
  },
  // Both Bun and its compiler load a module at the call of require(), not at the start. The paths must be literals.
  get snappy(): typeof import("snappy") {
    snappy ??= require("snappy") as typeof import("snappy");
    return snappy;
  },
  get crc32(): typeof import("@node-rs/crc32") {
    crc32 ??= require("@node-rs/crc32") as typeof import("@node-rs/crc32");
    return crc32;
  },
  get sketches(): typeof import("@datadog/sketches-js") {
    return require("@datadog/sketches-js");
  },
};
