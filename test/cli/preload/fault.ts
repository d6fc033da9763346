/** Loaded before the program: makes SIGUSR2 throw where nothing catches it. */
process.on("SIGUSR2", () => {
  throw new Error("planted fault");
});
