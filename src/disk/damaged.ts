import { describe } from '../errors.js'
import { type Files, nodeFiles } from './files.js'

/**
 * Renames a damaged file so that a new one can replace it: `path.bad`, or `path.bad.2` and so on up to 9, the last of
 * which is overwritten. Returns the end of a sentence for an operator.
 */
export function setAside(path: string, files: Files = nodeFiles): string {
  try {
    for (let n = 1; n <= maxKept; n++) {
      const name = n === 1 ? `${path}.bad` : `${path}.bad.${n}`
      if (n < maxKept && files.sizeOfSync(name) !== undefined) continue
      files.renameSync(path, name)
      return `the damaged file is ${name} now`
    }
  } catch (error) {
    return `the damaged file could not be renamed (${describe(error)})`
  }
  return ''
}

const maxKept = 9
