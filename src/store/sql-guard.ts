import { HubError } from '../errors.js'

/** Tables of the questions of administrators. */
export const sqlTables = ['readings', 'series'] as const

/** Functions that make rows, and read nothing. */
const tableFunctions = ['range', 'generate_series', 'unnest']

/**
 * Functions that act, wait, tell of the machine, or make values of any size from small ones: in memory that no limit of
 * DuckDB counts.
 */
const refusedFunctions =
  /^(?:read_.*|parquet_.*|pragma_.*|duckdb_.*|json_(?:de)?serialize_.*|json_execute_.*|query|query_table|glob|which_secret|getenv|getvariable|current_setting|nextval|currval|setseed|write_log|sleep_ms|stats|error|repeat|lpad|rpad|range|generate_series|array_resize|list_resize|printf|format|bar)$/

type TreeNode = Readonly<Record<string, unknown>>

/**
 * Checks the tree that DuckDB's own parser makes of a statement (`json_serialize_sql`). Throws `bad_request` unless it
 * is one SELECT of the tables here, with functions that only compute. Everything that is not known here is refused.
 */
export function checkTree(tree: unknown): void {
  const { error, error_message: message, statements } = tree as TreeNode
  if (error) throw refused(/Only SELECT/.test(String(message)) ? 'it is no SELECT' : String(message))
  if (!Array.isArray(statements) || statements.length !== 1) throw refused('it has several statements')
  const names = new Set<string>(sqlTables)
  visit(statements, node => {
    const { cte_map: ctes } = node
    const { map } = (ctes ?? {}) as TreeNode
    if (Array.isArray(map)) for (const { key } of map as TreeNode[]) names.add(String(key).toLowerCase())
  })
  visit(statements, node => checkNode(node, names))
}

function checkNode(node: TreeNode, names: ReadonlySet<string>): void {
  const { type, class: kind } = node
  if (kind === 'FUNCTION') {
    const name = String(node.function_name).toLowerCase()
    const isOwn = [node.schema, node.catalog].every(place => !place || place === 'main' || place === 'system')
    if (!isOwn || (refusedFunctions.test(name) && !isRowFunction.has(node))) throw refused(`it calls ${name}`)
  }
  if (kind === 'PARAMETER') throw refused('it has parameters')
  if (typeof type !== 'string' || kind !== undefined) return
  if (/RECURSIVE/.test(type)) throw refused('it is recursive')
  if (type === 'BASE_TABLE') {
    const { table_name: table, schema_name: schema, catalog_name: catalog } = node
    if (schema || catalog || !names.has(String(table).toLowerCase()))
      throw refused(`there is no table ${JSON.stringify(table)}; there are ${sqlTables.join(' and ')}`)
  }
  if (type === 'TABLE_FUNCTION') {
    const called = (node.function ?? {}) as TreeNode
    const name = String(called.function_name).toLowerCase()
    if (!tableFunctions.includes(name)) throw refused(`it reads from ${name}`)
    isRowFunction.add(called)
  }
  if (node.at_clause) throw refused('it asks for another version of a table')
}

/** Functions in the place of a table, where they make rows one after the other. */
const isRowFunction = new WeakSet<TreeNode>()

/** Deepest tree. */
const deepest = 500

function visit(value: unknown, look: (node: TreeNode) => void, depth = 0): void {
  if (typeof value !== 'object' || value === null) return
  if (depth > deepest) throw refused('it is nested too deeply')
  if (!Array.isArray(value)) look(value as TreeNode)
  for (const child of Object.values(value)) visit(child, look, depth + 1)
}

export function refused(why: string): HubError {
  return new HubError(
    'bad_request',
    `sql: ${why}; allowed is one SELECT (or FROM, VALUES, WITH, DESCRIBE, EXPLAIN) of readings and series, which changes and reads nothing else`,
  )
}
