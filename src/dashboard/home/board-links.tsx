import { patchBoards } from '../api.js'
import { say } from '../texts/language.js'
import { nameText } from '../wording.js'
import { useModel } from './context.js'
import { Icon } from './icons.js'
import type { HomeModel } from './model.js'

/** Links to the boards, and a button that makes one. */
export function BoardLinks() {
  const model = useModel()
  const boards = Object.entries(model.boards?.boards ?? {})
  if (model.isShared || (boards.length === 0 && !model.mayChange)) return null
  const sorted = boards.sort(([, a], [, b]) => nameOf(a).localeCompare(nameOf(b)))
  return (
    <nav class="board-links" aria-label={say('boards.title')}>
      {boards.length > 0 ? (
        <a href="/" aria-current={model.board === undefined ? 'page' : undefined} onClick={toAll}>
          {say('boards.all')}
        </a>
      ) : null}
      {sorted.map(([id, board]) => (
        <a
          key={id}
          href={`#${new URLSearchParams({ board: id })}`}
          aria-current={model.board === id ? 'page' : undefined}
        >
          <bdi>{nameOf(board)}</bdi>
        </a>
      ))}
      {model.mayChange ? (
        <button type="button" class="plain" onClick={() => void newBoard(model)}>
          <Icon name="found" size={15} />
          {say('boards.new')}
        </button>
      ) : null}
    </nav>
  )
}

function nameOf({ name }: { readonly name?: string }): string {
  return name === undefined || name === '' ? say('boards.unnamed') : nameText(name)
}

/** Goes to all devices without a # that stays in the address. */
function toAll(event: MouseEvent): void {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return
  event.preventDefault()
  history.pushState(null, '', location.pathname + location.search)
  dispatchEvent(new PopStateEvent('popstate'))
}

/** Makes a board without a name, and opens what can be changed of it. */
async function newBoard(model: HomeModel): Promise<void> {
  const id = [...crypto.getRandomValues(new Uint8Array(5))].map(byte => byte.toString(16).padStart(2, '0')).join('')
  const made = await patchBoards({ boards: { [id]: { name: say('boards.new-name') } } }, '*').catch(() => undefined)
  if (!made) return
  model.takeBoards(made)
  location.hash = `board=${id}`
  model.set({ board: id, isEditing: true })
}
