import { useEffect, useState } from 'preact/hooks'
import { withStyle } from '../styles.js'
import type { HomeModel } from './model.js'

type Parts = typeof import('../boards/parts.js').BoardParts

interface PartsProperties {
  readonly model: HomeModel
  readonly id: string
}

/** Charts of a board, and what can be changed of the board. Loaded when there is a board to be shown. */
export function BoardParts({ model, id }: PartsProperties) {
  const [loaded, setLoaded] = useState<{ readonly Parts: Parts }>()
  useEffect(() => {
    Promise.all([import('../boards/parts.js'), withStyle('boards.css'), withStyle('edit.css')]).then(
      ([{ BoardParts: Parts }]) => setLoaded({ Parts }),
      // The devices of the board are there without.
      () => {},
    )
  }, [])
  const board = model.boards?.boards[id]
  return loaded && board ? <loaded.Parts model={model} id={id} board={board} /> : null
}
