import type { DuckDbAside, SqlValue } from './duckdb-file.js'
import { inMemory } from './duckdb-file.js'
import { NativeCalls } from './native-calls.js'

/** A column of a Parquet file, with its type in the words of DuckDB. */
export interface ParquetColumn {
  readonly name: string
  readonly type: string
}

/**
 * A Parquet file of anybody, read by the DuckDB engine without a database. Rows come in the order of the file, and memory
 * holds the row group that is being read, whatever the size of the file.
 */
export class ParquetRows {
  readonly columns: readonly ParquetColumn[]
  readonly rows: number
  readonly #path: string
  readonly #aside: DuckDbAside
  readonly #close: () => void

  private constructor(
    path: string,
    aside: DuckDbAside,
    { columns, rows, close }: { columns: readonly ParquetColumn[]; rows: number; close: () => void },
  ) {
    this.#path = path
    this.#aside = aside
    this.columns = columns
    this.rows = rows
    this.#close = close
  }

  /** Rejects as DuckDB does when the file cannot be read. */
  static async open(path: string): Promise<ParquetRows> {
    const { aside, close } = await inMemory(new NativeCalls())
    try {
      const file = quotedText(path)
      const [names = [], types = []] = await aside.columns(`DESCRIBE SELECT * FROM read_parquet(${file})`)
      const [[rows] = []] = await aside.columns(`SELECT sum(num_rows) FROM parquet_file_metadata(${file})`)
      const columns = names.map((name, i) => ({ name: String(name), type: String(types[i]) }))
      return new ParquetRows(path, aside, { columns, rows: Number(rows ?? 0), close })
    } catch (error) {
      close()
      throw error
    }
  }

  /**
   * Reads rows from a number on, counted from 0, in chunks: for each row the values of `expressions` in SQL, as JSON.
   */
  async *read(expressions: readonly string[], from: number): AsyncGenerator<SqlValue[][]> {
    const { chunks } = await this.#aside.stream(
      `SELECT ${expressions.join(', ')} FROM read_parquet(${quotedText(this.#path)}, file_row_number = true)
       WHERE file_row_number >= ${from}`,
    )
    yield* chunks
  }

  close(): void {
    this.#close()
  }
}

function quotedText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
