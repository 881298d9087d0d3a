/** Keeps DuckDB at work long enough for a thread to die meanwhile. */
export const longQuery = 'SELECT count(*) FROM range(100000000) numbers(n) WHERE n % 7 = 3'
