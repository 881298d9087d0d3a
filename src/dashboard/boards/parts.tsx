import { useEffect, useState } from 'preact/hooks'
import { Editor } from '../edit/editor.js'
import type { Board } from '../home/catalogue.js'
import type { HomeModel } from '../home/model.js'
import { BoardChart } from './board-chart.js'
import { BoardEditor } from './board-editor.js'
import { say } from './words.js'

interface PartsProperties {
  readonly model: HomeModel
  readonly id: string
  readonly board: Board
}

/** The parts of a board beside the cards of devices: charts, and a sheet on which the board is changed. */
export function BoardParts({ model, id, board }: PartsProperties) {
  const { series = [], devices = [], areas = [] } = board
  const isEmpty = series.length + devices.length + areas.length === 0
  return (
    <>
      {series.length > 0 ? (
        <section class="board-charts" aria-labelledby="board-charts-title">
          <h2 id="board-charts-title">
            {say('charts')} <span class="area-count">{say('last-day')}</span>
          </h2>
          <ul>
            {series.map(key => (
              <BoardChart key={key} series={key} devices={model.catalogue?.devices ?? []} isLinked={!model.isShared} />
            ))}
          </ul>
        </section>
      ) : null}
      {isEmpty ? (
        <div class="home-none">
          <p>{say('empty')}</p>
          {model.mayChange ? <p class="hint">{say('empty-hint')}</p> : null}
        </div>
      ) : null}
      {model.isEditing ? <Editing model={model} id={id} board={board} /> : null}
    </>
  )
}

/** The sheet, with the edits as they were when it was opened and as others change them. */
function Editing({ model, id, board }: PartsProperties) {
  const [editor] = useState(() => new Editor(model))
  const [, draw] = useState(0)
  useEffect(() => {
    editor.onChange = () => draw(n => n + 1)
    return () => {
      editor.onChange = undefined
    }
  }, [])
  useEffect(() => void editor.refresh())
  return <BoardEditor {...{ model, id, board: editor.boards?.boards[id] ?? board, editor }} />
}
