import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Examined } from './finding.js'

/** Returns the id of the hub. Undefined without the file, or with a damaged one, which another check reports. */
export function hubIdOf({ dir }: Examined): string | undefined {
  try {
    const { id } = JSON.parse(readFileSync(join(dir, 'hub.json'), 'utf8')) as { id?: unknown }
    return typeof id === 'string' ? id : undefined
  } catch {
    return undefined
  }
}
