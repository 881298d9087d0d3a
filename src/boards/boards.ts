import { type BoardEdits, boardsFile } from '../contract/contract.js'
import type { Files } from '../disk/files.js'
import { EditFile, type EditKind, isJsonMap, type JsonMap } from '../edits/edit-file.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import { mistakesIn } from './check.js'

export type { BoardEdits } from '../contract/contract.js'
export type { EditFollower, JsonMap } from '../edits/edit-file.js'

export interface BoardsOptions {
  /** Data directory. */
  readonly dir: string
  readonly incidents: IncidentReporter
  readonly log: SentenceLog
  readonly files?: Files
}

const kind: EditKind = {
  name: 'boards',
  noun: 'the edits of the screen',
  incident: 'boards_damaged',
  mistakesIn: value => mistakesIn(boardsFile, value),
  describe: path => path.join('.'),
  changesOf: whatChanges,
}

/** The edits of the screen and the boards, in `boards.json` of the data directory. */
export class Boards extends EditFile {
  constructor(options: BoardsOptions) {
    super({ ...options, kind })
  }

  override get edits(): BoardEdits & JsonMap {
    return super.edits as BoardEdits & JsonMap
  }

  /** Sets the favourites of a user, which is no change that others could undo. */
  setFavourites(user: string, devices: readonly string[]): Promise<void> {
    return this.patchQuietly({ favourites: { [user]: devices.length === 0 ? null : devices } })
  }
}

/** Most names in a sentence about a change. */
const maxNames = 5

/** Returns what a patch changes, in a few words: `devices.freezer.name, areas`. */
function whatChanges(patch: JsonMap): string {
  const names: string[] = []
  const walk = (value: JsonMap, path: string, depth: number) => {
    for (const [name, inner] of Object.entries(value)) {
      const at = path === '' ? name : `${path}.${name}`
      if (depth < 2 && isJsonMap(inner)) walk(inner, at, depth + 1)
      else names.push(at)
    }
  }
  walk(patch, '', 0)
  const more = names.length > maxNames ? ` and ${names.length - maxNames} more` : ''
  return `${names.slice(0, maxNames).join(', ')}${more}`.slice(0, 500)
}
