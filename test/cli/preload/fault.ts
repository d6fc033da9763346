/** Loaded before the program. SIGUSR2 throws an exception that is not caught. */
process.on("SIGUSR2", () => {
  throw new Error("planted fault");
});
