import { join } from 'node:path'
import { type IndexEntry, readIndex } from '../dead-letters/letter-index.js'
import { nameOf, parseName } from '../dead-letters/letter-names.js'
import { nodeFiles } from '../disk/files.js'
import { bytes, many } from '../runtime/terminal.js'
import { type Check, fine, problem, unreadable } from './finding.js'

/** Whether all files of dead letters are there that the hub has written, and none is shorter than it was. */
export const deadLetters: Check = ({ dir, hasDir, hub }) => {
  const check = 'dead letter files'
  // A hub that runs is changing them.
  if (!hasDir || hub !== undefined) return []
  const path = join(dir, 'dead.index')
  try {
    if (nodeFiles.sizeOfSync(path) === undefined) return []
    const { entries, isDamaged } = readIndex(path)
    if (isDamaged)
      return [
        problem(
          check,
          `${path} is damaged: whether dead letters are missing cannot be told`,
          'The next start makes it anew.',
        ),
      ]
    const folder = join(dir, 'dead')
    const names = nodeFiles.sizeOfSync(folder) === undefined ? [] : nodeFiles.listSync(folder)
    const short = entries.flatMap(entry => shortage(folder, names, entry) ?? [])
    if (short.length === 0) return [fine(check, `${many(entries.length, 'file')}, as long as they were`)]
    return [
      problem(
        check,
        short.join('; '),
        'Bring the files back from a copy of data.dir before the hub starts; it starts without them, too, and reports what is lost.',
      ),
    ]
  } catch (error) {
    return [unreadable(check, path, error)]
  }
}

function shortage(folder: string, names: readonly string[], entry: IndexEntry): string | undefined {
  const { number, generation, end, letters, gone } = entry
  const path = join(folder, nameOf({ number, generation, kind: 'log' }))
  const size = nodeFiles.sizeOfSync(path)
  if (size !== undefined && size >= end) return undefined
  if (size !== undefined) return `${path} has ${bytes(size)} of ${bytes(end)}`
  const isRewritten = names.some(name => {
    const found = parseName(name)
    return found?.kind === 'log' && found.number === number && found.generation > generation
  })
  if (isRewritten || letters === gone) return undefined
  return `${path} is gone, with ${many(letters - gone, 'dead letter')}`
}
