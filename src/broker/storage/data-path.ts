/** The broker keeps all its files in this folder of the data path. */
export const DATA_FOLDER = "bunsq-data";
