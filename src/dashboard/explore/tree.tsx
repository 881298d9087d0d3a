import { hubNow } from '../api.js'
import { ageText } from '../home/format.js'
import { locale } from '../texts/language.js'
import { nameText } from '../wording.js'
import { addressOf, useExplore } from './context.js'
import { keyOf, rootKey, type ShownLevel } from './model.js'
import type { Level } from './requests.js'
import { say, sayCount } from './words.js'

const rates = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 })
const sizes = new Intl.NumberFormat(locale)

/** The tree of topics, or what a search has found. */
export function Tree() {
  const model = useExplore()
  const { found, search, forgotten } = model
  const root = model.levels.get(rootKey)
  return (
    <section class="tree" aria-labelledby="tree-title">
      <h2 id="tree-title">
        {say('tree.label')}{' '}
        <span class="tree-count" role="status">
          {found
            ? found.isLoading
              ? ''
              : sayCount('tree.found', found.topics)
            : root
              ? sayCount('tree.topics', root.topics)
              : ''}
        </span>
      </h2>
      {found ? <Found found={found} search={search} /> : <LevelList shown={root} path={undefined} depth={0} />}
      {root?.isIncomplete ? <p class="hint">{say('tree.incomplete')}</p> : null}
      {forgotten > 0 ? <p class="hint">{sayCount('tree.forgotten', forgotten)}</p> : null}
    </section>
  )
}

function Found({ found, search }: { readonly found: ShownLevel; readonly search: string }) {
  const model = useExplore()
  if (found.failure !== '') return <p class="hint">{say('failed', { why: found.failure })}</p>
  if (!found.isLoading && found.levels.length === 0) return <p class="hint">{say('tree.nothing', { text: search })}</p>
  return (
    <>
      <ul class="levels">
        {found.levels.map(level => (
          <li key={level.name}>
            <div class="level" data-current={level.name === model.topic}>
              <Row level={level} path={level.name} />
            </div>
          </li>
        ))}
      </ul>
      {found.next === undefined ? null : (
        <button type="button" class="plain" onClick={() => model.moreFound()}>
          {say('more')}
        </button>
      )}
    </>
  )
}

interface ListProperties {
  readonly shown: ShownLevel | undefined
  readonly path: string | undefined
  readonly depth: number
}

function LevelList({ shown, path, depth }: ListProperties) {
  const model = useExplore()
  if (!shown) return null
  if (shown.failure !== '') return <p class="hint">{say('failed', { why: shown.failure })}</p>
  if (shown.levels.length === 0)
    return <p class="hint">{shown.isLoading ? say('loading') : depth === 0 ? say('tree.none') : ''}</p>
  return (
    <ul class="levels">
      {shown.levels.map(level => {
        const own = path === undefined ? level.name : `${path}/${level.name}`
        return <Branch key={level.name} level={level} path={own} depth={depth} />
      })}
      {shown.next === undefined ? null : (
        <li>
          <button
            type="button"
            class="plain"
            disabled={shown.isLoading}
            onClick={() => model.more(path === undefined ? rootKey : keyOf(path), path)}
          >
            {say('more')}
          </button>
        </li>
      )}
    </ul>
  )
}

function Branch({ level, path, depth }: { readonly level: Level; readonly path: string; readonly depth: number }) {
  const model = useExplore()
  const open = model.levels.get(keyOf(path))
  const name = level.name === '' ? say('tree.empty-name') : nameText(level.name)
  return (
    <li>
      <div class="level" data-current={path === model.topic}>
        {level.isOpenable ? (
          <button
            type="button"
            class="level-toggle"
            aria-expanded={open !== undefined}
            aria-label={say(open ? 'tree.close' : 'tree.open', { name })}
            onClick={() => model.toggle(path)}
          >
            <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
              <path d="m6 4 4 4-4 4" />
            </svg>
          </button>
        ) : (
          <span class="level-toggle" />
        )}
        <Row level={level} path={path} />
      </div>
      {open ? <LevelList shown={open} path={path} depth={depth + 1} /> : null}
    </li>
  )
}

function Row({ level, path }: { readonly level: Level; readonly path: string }) {
  const model = useExplore()
  const { name, own, rate, last, topics, isOpenable } = level
  const shown = name === '' ? say('tree.empty-name') : nameText(name)
  const rateText = rates.format(rate)
  return (
    <>
      {own ? (
        <a class="level-name" href={addressOf(path)} aria-current={path === model.topic ? 'true' : undefined}>
          <bdi>{shown}</bdi>
        </a>
      ) : (
        <button type="button" class="level-name" tabIndex={-1} aria-hidden="true" onClick={() => model.toggle(path)}>
          <bdi>{shown}</bdi>
        </button>
      )}
      <span class="level-marks">
        {own?.fate && own.fate !== 'stored' ? (
          <span class="mark" data-mark={own.fate} title={own.reason}>
            {say(`mark.${own.fate}`)}
          </span>
        ) : null}
        {own?.fate === 'stored' ? (
          <span class="mark" data-mark="stored">
            {say('mark.stored')}
          </span>
        ) : null}
        {own?.retained ? (
          <span class="mark" data-mark="retained">
            {say('mark.retained')}
          </span>
        ) : null}
      </span>
      <span class="level-facts">
        {isOpenable ? <span>{sayCount('tree.topics', topics)}</span> : null}
        {rate >= 0.05 ? <span>{say('tree.rate', { rate: rateText })}</span> : null}
        {own ? <span>{say('tree.size', { size: sizes.format(own.size) })}</span> : null}
        {own?.client ? (
          <span class="level-client">
            <bdi>{say('tree.by', { client: nameText(own.client) })}</bdi>
          </span>
        ) : null}
        <span>{last === undefined ? say('tree.never') : ageText(hubNow() - last)}</span>
      </span>
    </>
  )
}
