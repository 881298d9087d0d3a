import { useEffect, useState } from 'preact/hooks'
import { endShare, fetchShares, hubNow, type ShareRow, shareBoard } from '../api.js'
import { locale } from '../texts/language.js'
import { nameText } from '../wording.js'
import { say } from './words.js'

interface ShareProperties {
  readonly board: string
  /** Whether the hub asks for a login. Without, everybody sees the board. */
  readonly needsLogin: boolean
}

const dayMs = 86_400_000
const spans = [1, 7, 30, 365] as const
const dates = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' })

/** Links that share the board: those there are, and a new one. */
export function SharePart({ board, needsLogin }: ShareProperties) {
  const [links, setLinks] = useState<readonly ShareRow[]>([])
  const [days, setDays] = useState<number>(7)
  const [made, setMade] = useState('')
  const [trouble, setTrouble] = useState('')
  const [isCopied, setCopied] = useState(false)
  const act = async (what: Promise<unknown>) => {
    setTrouble('')
    try {
      await what
      if (needsLogin) setLinks((await fetchShares()).filter(link => link.board === board))
    } catch (error) {
      setTrouble((error as Error).message)
    }
  }
  useEffect(() => void act(Promise.resolve()), [board])
  const address = `${location.origin}/#${new URLSearchParams({ board })}`
  const copy = (text: string) => void navigator.clipboard?.writeText(text).then(() => setCopied(true))
  const make = async () => {
    setCopied(false)
    setMade(`${location.origin}${await shareBoard(board, hubNow() + days * dayMs)}`)
  }
  const shown = needsLogin ? made : address
  return (
    <section class="sheet-part">
      <h3>{say('share')}</h3>
      <p class="hint">{say(needsLogin ? 'share-hint' : 'share-open')}</p>
      {needsLogin ? (
        <div class="board-share">
          <label>
            <span class="field-label">{say('share-ends')}</span>
            <select value={String(days)} onChange={event => setDays(Number(event.currentTarget.value))}>
              {spans.map(span => (
                <option key={span} value={String(span)}>
                  {say(`share-days.${span}`)}
                </option>
              ))}
            </select>
          </label>
          <button type="button" class="plain" onClick={() => void act(make())}>
            {say('share-make')}
          </button>
        </div>
      ) : null}
      {shown === '' ? null : (
        <div class="board-link" role="status">
          {made === '' ? null : <p class="hint">{say('share-once')}</p>}
          <code>{shown}</code>
          {navigator.clipboard ? (
            <button type="button" class="plain" onClick={() => copy(shown)}>
              {say(isCopied ? 'copied' : 'copy')}
            </button>
          ) : null}
        </div>
      )}
      <p class="field-trouble" role="alert">
        {trouble}
      </p>
      <ul class="board-series">
        {links.map(({ id, by, expires }) => (
          <li key={id}>
            <span>
              {say('share-until', { time: dates.format(expires) })}{' '}
              <bdi class="hint">{by === '' ? '' : nameText(by)}</bdi>
            </span>
            <button type="button" class="plain" onClick={() => void act(endShare(id))}>
              {say('share-end')}
            </button>
          </li>
        ))}
      </ul>
    </section>
  )
}
