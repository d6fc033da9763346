/** Loaded before the program. SIGUSR1 throws an exception that is not caught. */
process.on("SIGUSR1", () => {
  throw new Error("planted fault");
});
