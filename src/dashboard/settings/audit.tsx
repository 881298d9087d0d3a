import { useEffect, useRef, useState } from 'preact/hooks'
import { csv, fetchLines, jsonLines, mostLines } from './audit-download.js'
import { AuditItem } from './audit-item.js'
import { dayText } from './moments.js'
import type { PartProperties } from './part.js'
import { type AuditAsked, type AuditLine, fetchAudit } from './requests.js'
import { save } from './save.js'
import { Told } from './told.js'
import { say, sayCount } from './words.js'

const events = [
  'login',
  'logout',
  'refused',
  'users',
  'pairing',
  'change',
  'command',
  'ban',
  'takeover',
  'hub',
  'audit',
] as const

/** Most questions for one page of lines: the hub reads a part of the log with each. */
const mostQuestions = 20

/** The audit log, the newest line first, with filters, and as a file. */
export function Audit({ search }: PartProperties) {
  const [user, setUser] = useState('')
  const [event, setEvent] = useState('')
  const [from, setFrom] = useState('')
  const [to, setTo] = useState('')
  const [lines, setLines] = useState<readonly AuditLine[]>()
  const [next, setNext] = useState<number>()
  const [trouble, setTrouble] = useState('')
  const [note, setNote] = useState('')
  const question = useRef(0)
  const dayMs = (text: string, plus: number) => {
    const [year = 0, month = 1, day = 1] = text.split('-').map(Number)
    return new Date(year, month - 1, day + plus).getTime()
  }
  const asked: Omit<AuditAsked, 'before' | 'limit'> = {
    ...(user.trim() && { user: user.trim() }),
    ...(event && { event }),
    ...(search && { text: search }),
    ...(from && { from: dayMs(from, 0) }),
    ...(to && { to: dayMs(to, 1) }),
  }
  const key = JSON.stringify(asked)
  const load = async (before?: number, known: readonly AuditLine[] = []) => {
    const number = ++question.current
    const found = [...known]
    let rest = before
    try {
      for (let times = 0; times < mostQuestions; times++) {
        const answer = await fetchAudit({ ...asked, before: rest, limit: 100 })
        if (number !== question.current) return
        found.push(...answer.lines)
        rest = answer.next
        if (rest === undefined || answer.lines.length > 0) break
      }
      setLines(found)
      setNext(rest)
      setTrouble('')
    } catch (error) {
      if (number === question.current) setTrouble(say('failed', { why: (error as Error).message }))
    }
  }
  useEffect(() => {
    void load()
    return () => {
      question.current++
    }
  }, [key])
  const download = async (kind: 'csv' | 'jsonl') => {
    try {
      const all = await fetchLines(asked, count => setNote(sayCount('audit.read', count)))
      const [text, type] = kind === 'csv' ? [csv(all), 'text/csv'] : [jsonLines(all), 'application/x-ndjson']
      save(`audit.${kind}`, [text], type)
      setNote(all.length < mostLines ? sayCount('audit.saved', all.length) : say('audit.cut', { count: all.length }))
    } catch (error) {
      setNote(say('failed', { why: (error as Error).message }))
    }
  }
  let day = ''
  return (
    <>
      <div class="set-head">
        <h2>{say('part.audit')}</h2>
        <p class="hint">{say('audit.text')}</p>
      </div>
      <form class="set-filters" onSubmit={event => event.preventDefault()}>
        <label>
          {say('audit.who')}
          <input
            type="text"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            value={user}
            onInput={event => setUser(event.currentTarget.value)}
          />
        </label>
        <label>
          {say('audit.what')}
          <select value={event} onChange={event => setEvent(event.currentTarget.value)}>
            <option value="">{say('audit.all')}</option>
            {events.map(one => (
              <option key={one} value={one}>
                {say(`event.${one}`)}
              </option>
            ))}
          </select>
        </label>
        <label>
          {say('audit.from')}
          <input type="date" value={from} max={to} onInput={event => setFrom(event.currentTarget.value)} />
        </label>
        <label>
          {say('audit.to')}
          <input type="date" value={to} min={from} onInput={event => setTo(event.currentTarget.value)} />
        </label>
        <div class="set-acts">
          <button type="button" class="plain" onClick={() => void download('csv')}>
            CSV
          </button>
          <button type="button" class="plain" onClick={() => void download('jsonl')}>
            JSONL
          </button>
          <button type="button" class="plain" onClick={() => void load()}>
            {say('audit.again')}
          </button>
        </div>
      </form>
      <Told note={note} trouble={trouble} />
      {lines === undefined && trouble === '' ? <p class="hint">{say('loading')}</p> : null}
      {lines?.length === 0 ? <p class="hint">{say(next === undefined ? 'audit.none' : 'audit.none-yet')}</p> : null}
      <ol class="set-audit">
        {(lines ?? []).map(line => {
          const own = line.at === '' ? day : dayText(Date.parse(line.at))
          const isNew = own !== day
          day = own
          return <AuditItem key={line.n} line={line} day={isNew ? own : ''} />
        })}
      </ol>
      {next === undefined ? null : (
        <p>
          <button type="button" class="plain" onClick={() => void load(next, lines)}>
            {say('audit.older')}
          </button>
        </p>
      )}
    </>
  )
}
