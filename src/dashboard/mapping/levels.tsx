import { useState } from 'preact/hooks'
import { nameText } from '../wording.js'
import { useMapping } from './context.js'
import { type Level, levelsOf, nameFor, namesOf, textOf, withLevels } from './draft.js'
import { say } from './words.js'

/** The levels of the topic as chips: one that is chosen can be one text, or any with a name or without. */
export function Levels() {
  const model = useMapping()
  const [open, setOpen] = useState<number | undefined>(undefined)
  const { rule = {}, topic = '' } = model
  const levels = levelsOf(textOf(rule, 'topic'))
  const given = topic.split('/')
  const set = (i: number, level: Level) => {
    const isRest = level.kind === 'rest' || level.kind === 'namedRest'
    const others = isRest ? levels.slice(0, i) : levels.filter((_, n) => n < i)
    const after = isRest ? [] : levels.slice(i + 1)
    model.edit(withLevels(rule, [...others, level, ...after]))
    if (isRest) setOpen(i)
  }
  const chosen = open === undefined ? undefined : levels[open]
  const isCut = levels.length < given.length || levels.some(({ kind }) => kind === 'rest' || kind === 'namedRest')
  return (
    <>
      <fieldset class="chips" aria-label={say('topics.title')}>
        {levels.map((level, i) => (
          <span key={i} class="chip-step">
            {i > 0 ? <span aria-hidden="true">/</span> : null}
            <button
              type="button"
              class="chip"
              data-kind={level.kind}
              aria-expanded={open === i}
              aria-label={labelOf(level)}
              onClick={() => setOpen(open === i ? undefined : i)}
            >
              <bdi>{chipText(level)}</bdi>
            </button>
          </span>
        ))}
        {isCut && given.length > levels.length ? (
          <button type="button" class="plain" onClick={() => model.edit(withLevels(rule, restored(levels, given)))}>
            {say('level.more')}
          </button>
        ) : null}
      </fieldset>
      {chosen && open !== undefined ? (
        <LevelChoice
          key={open}
          level={chosen}
          given={given[open] ?? chosen.text}
          taken={namesOf(rule)}
          isFollowed={open > 0}
          onChange={level => set(open, level)}
        />
      ) : null}
    </>
  )
}

/** Returns the levels with those of the topic again that "all that follow" stood for. */
function restored(levels: readonly Level[], given: readonly string[]): readonly Level[] {
  const known = levels.filter(({ kind }) => kind !== 'rest' && kind !== 'namedRest')
  return [...known, ...given.slice(known.length).map((text): Level => ({ kind: 'text', text }))]
}

interface Choice {
  readonly level: Level
  readonly given: string
  readonly taken: readonly string[]
  readonly isFollowed: boolean
  onChange(level: Level): void
}

function LevelChoice({ level, given, taken, isFollowed, onChange }: Choice) {
  const { kind, text } = level
  const named = kind === 'name' || kind === 'namedRest'
  const name = named && text !== '' ? text : nameFor(given, taken)
  const choices: readonly (readonly [Level, string])[] = [
    [{ kind: 'text', text: given }, say('level.text', { text: nameText(given) })],
    [{ kind: 'name', text: name }, say('level.name')],
    [{ kind: 'any', text: '' }, say('level.any')],
    ...(isFollowed ? [[{ kind: 'rest', text: '' }, say('level.rest')] as const] : []),
  ]
  return (
    <div class="level-choice">
      <fieldset class="segments" aria-label={say('level.label')}>
        {choices.map(([one, words]) => (
          <button key={one.kind} type="button" aria-pressed={one.kind === kind} onClick={() => onChange(one)}>
            {words}
          </button>
        ))}
      </fieldset>
      {named ? (
        <label class="mapping-line">
          <span>{say('level.named')}</span>
          <input
            value={text}
            pattern="[A-Za-z_][A-Za-z0-9_\-]*"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            aria-describedby="level-hint mistake-topic"
            onInput={event => onChange({ kind, text: event.currentTarget.value.replace(/[{}/+#]/g, '') })}
          />
        </label>
      ) : null}
      <p class="hint" id="level-hint">
        {say(
          kind === 'text'
            ? 'level.text-hint'
            : named
              ? 'level.name-hint'
              : kind === 'any'
                ? 'level.any-hint'
                : 'level.rest-hint',
        )}
      </p>
    </div>
  )
}

function chipText({ kind, text }: Level): string {
  if (kind === 'any') return say('chip.any')
  if (kind === 'rest') return say('chip.rest')
  const shown = text === '' ? say('chip.empty') : nameText(text)
  return kind === 'text' ? shown : kind === 'name' ? `{${shown}}` : `{${shown}} …`
}

function labelOf(level: Level): string {
  if (level.kind === 'text') return say('chip.text-label', { text: nameText(level.text) })
  if (level.kind === 'name' || level.kind === 'namedRest') return say('chip.name-label', { name: nameText(level.text) })
  return chipText(level)
}
