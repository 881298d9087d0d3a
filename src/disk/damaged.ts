import { describe } from '../errors.js'
import { type Files, nodeFiles, readWholeSync } from './files.js'

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

/**
 * Returns the value of a small file of state. Undefined: there is no file, or it could not be used; then it was set aside,
 * and `report` was given a sentence for an operator.
 *
 * @param parse Returns the value of the text of the file. Throws when that is damaged.
 * @param lost Says what a damaged file costs, as a part of the sentence.
 */
export function readOrSetAside<T>(
  path: string,
  parse: (text: string) => T,
  lost: string,
  report: (sentence: string) => void,
): T | undefined {
  try {
    const bytes = readWholeSync(path)
    return bytes && parse(bytes.toString('utf8'))
  } catch (error) {
    report(`${path} cannot be read (${describe(error)}); ${lost}; ${setAside(path)}`)
    return undefined
  }
}
