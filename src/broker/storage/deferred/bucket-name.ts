export function bucketName(startMs: number, widthMs: number): string {
  return `${startMs}-${widthMs}`;
}

/** Reads the period of a bucket from the name of its entries' file. @returns undefined for any other file */
export function parseBucketName(name: string): { startMs: number; widthMs: number } | undefined {
  const match = /^(\d+)-(\d+)\.msg$/.exec(name);
  return match === null ? undefined : { startMs: Number(match[1]), widthMs: Number(match[2]) };
}
