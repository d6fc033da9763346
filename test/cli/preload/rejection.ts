/** Loaded before the program. SIGUSR2 rejects a promise that is not handled. */
process.on("SIGUSR2", () => {
  void Promise.reject(new Error("planted rejection"));
});
