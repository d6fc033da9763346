/** Loaded before the program. SIGUSR1 rejects a promise that is not handled. */
process.on("SIGUSR1", () => {
  void Promise.reject(new Error("planted rejection"));
});
