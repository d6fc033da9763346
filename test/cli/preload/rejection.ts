/** Loaded before the program: makes SIGUSR2 reject a promise that nobody holds. */
process.on("SIGUSR2", () => {
  void Promise.reject(new Error("planted rejection"));
});
