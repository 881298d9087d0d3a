/*
 * Readings that other rules make of the past, which take the place of those that are stored, all in one transaction:
 *
 *     swap           at most one row: the swap that is in force, or was undone (`id`), and the sequence number above which
 *                    messages may have been stored by the rules before it (`above`)
 *     swap_made      what the rules before have made: series and time
 *     swap_numbers   what the other rules make, in the order of the messages; numbers and booleans
 *     swap_texts
 *     swap_keys      series and time of all that the swap in force has removed or written
 *     kept_numbers   readings that it has removed or replaced, as they were
 *     kept_texts
 *
 * The first four are empty while nothing is staged, the others when there is nothing to undo. Readings that retention has
 * deleted, of which only roll-ups are left, are neither removed nor written: a roll-up does not tell its readings.
 */
export const swapSchema = `
  CREATE TABLE IF NOT EXISTS swap (id VARCHAR NOT NULL, above BIGINT NOT NULL);
  CREATE TABLE IF NOT EXISTS swap_made (series INTEGER NOT NULL, time BIGINT NOT NULL);
  CREATE TABLE IF NOT EXISTS swap_numbers (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);
  CREATE TABLE IF NOT EXISTS swap_texts (series INTEGER NOT NULL, time BIGINT NOT NULL, value VARCHAR NOT NULL);
  CREATE TABLE IF NOT EXISTS swap_keys (series INTEGER NOT NULL, time BIGINT NOT NULL);
  CREATE TABLE IF NOT EXISTS kept_numbers (series INTEGER NOT NULL, time BIGINT NOT NULL, value DOUBLE NOT NULL);
  CREATE TABLE IF NOT EXISTS kept_texts (series INTEGER NOT NULL, time BIGINT NOT NULL, value VARCHAR NOT NULL);
`

/** Tables that rows are appended to. */
export const swapTables = ['swap_made', 'swap_numbers', 'swap_texts']
