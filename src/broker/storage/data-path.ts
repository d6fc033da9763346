/** Everything below the data path that is ours stands in this folder. */
export const DATA_FOLDER = "bunsq-data";
