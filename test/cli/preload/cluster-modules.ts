/** Loaded before the program. Logs each module of src/cluster that the program loads, whenever that is. */
Bun.plugin({
  name: "cluster-modules",
  setup: (build) => {
    build.onLoad({ filter: /\/src\/cluster\/.*\.ts$/ }, async ({ path }) => {
      console.error(`loaded ${path}`);
      return { contents: await Bun.file(path).text(), loader: "ts" };
    });
  },
});
