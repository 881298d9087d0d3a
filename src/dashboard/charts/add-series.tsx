import { useEffect, useRef, useState } from 'preact/hooks'
import { useModel } from './context.js'
import { type Subject, searchSubjects } from './subject.js'
import { say } from './words.js'

const settleMs = 200
const mostShown = 30

/** Searches series by the names of devices and values, and adds one to the chart. */
export function AddSeries({ onDone }: { readonly onDone: () => void }) {
  const model = useModel()
  const [text, setText] = useState('')
  const [found, setFound] = useState<readonly Subject[] | undefined>(undefined)
  const [trouble, setTrouble] = useState('')
  const input = useRef<HTMLInputElement>(null)
  const list = useRef<HTMLUListElement>(null)
  useEffect(() => input.current?.focus(), [])
  useEffect(() => {
    if (text.trim() === '') {
      setFound(undefined)
      return
    }
    let isOver = false
    const timer = setTimeout(() => {
      searchSubjects(text).then(
        subjects => {
          if (isOver) return
          setTrouble('')
          const keys = model.selection?.keys ?? []
          setFound(subjects.filter(({ key }) => !keys.includes(key)).slice(0, mostShown))
        },
        (error: unknown) => !isOver && setTrouble(say('add.failed', { why: (error as Error).message })),
      )
    }, settleMs)
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [text])
  const add = ({ key }: Subject) => {
    model.change({ keys: [...(model.selection?.keys ?? []), key] })
    onDone()
  }
  const key = (event: KeyboardEvent) => {
    if (event.key === 'Escape') {
      event.stopPropagation()
      onDone()
      return
    }
    const direction = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0
    if (direction === 0) return
    event.preventDefault()
    const all = [input.current, ...(list.current?.querySelectorAll<HTMLElement>('button') ?? [])]
    all[Math.max(0, all.indexOf(document.activeElement as HTMLInputElement) + direction)]?.focus()
  }
  const said = trouble || (found?.length === 0 ? say('add.none') : found === undefined ? say('add.type') : '')
  return (
    <search class="chart-form chart-add" onKeyDown={key}>
      <input
        ref={input}
        type="search"
        aria-label={say('add.search')}
        placeholder={say('add.search')}
        autocomplete="off"
        spellcheck={false}
        value={text}
        onInput={event => setText(event.currentTarget.value)}
        onKeyDown={event => {
          const [first] = found ?? []
          if (event.key === 'Enter' && first) add(first)
        }}
      />
      <p class="hint" role="status">
        {said}
      </p>
      <ul ref={list} aria-label={say('add.results')}>
        {(found ?? []).map(subject => (
          <li key={subject.key}>
            <button type="button" onClick={() => add(subject)}>
              <bdi class="add-name">{subject.name}</bdi> <bdi class="add-device">{subject.device}</bdi>
              {subject.unit === '' ? null : <bdi class="add-unit">{subject.unit}</bdi>}
            </button>
          </li>
        ))}
      </ul>
    </search>
  )
}
