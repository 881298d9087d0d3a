import { ask } from '../api.js'
import { alertText, saidText } from '../said/said.js'
import { nameText } from '../wording.js'
import type { Span } from './span.js'
import type { Subject } from './subject.js'
import { say } from './words.js'

export type MarkKind = 'raised' | 'cleared' | 'acknowledged' | 'sent' | 'answered' | 'failed' | 'started'

/** Something that happened at a time. */
export interface Mark {
  readonly time: number
  readonly kind: MarkKind
  readonly text: string
}

/** Marks that are too near to each other to be drawn apart. */
export interface Cluster {
  readonly time: number
  readonly marks: readonly Mark[]
}

const mostMarks = 1_000

/** Resolves with what happened to some series and their devices in a span, in order. What may not be read is left out. */
export async function findMarks(subjects: readonly Subject[], { from, to }: Span): Promise<readonly Mark[]> {
  const found = await Promise.all([
    alertMarks(subjects).catch(() => []),
    commandMarks(subjects).catch(() => []),
    startMarks().catch(() => []),
  ])
  return found
    .flat()
    .filter(({ time }) => time >= from && time < to)
    .sort((a, b) => a.time - b.time)
    .slice(-mostMarks)
}

async function alertMarks(subjects: readonly Subject[]): Promise<readonly Mark[]> {
  const keys = new Set(subjects.map(({ key }) => key))
  const ids = new Set(subjects.flatMap(subject => subject.ids))
  const { alerts } = await ask('GET /api/alerts', { state: 'all', limit: mostMarks })
  const kinds = { firing: 'raised', cleared: 'cleared', acknowledged: 'acknowledged' } as const
  return alerts
    .filter(({ series, device }) => keys.has(series) || ids.has(series) || (device !== undefined && ids.has(device)))
    .flatMap(({ rule, transitions }) =>
      transitions.flatMap(({ state, at, sentence, said, by = '' }) => {
        if (state === 'pending') return []
        const what = nameText(alertText({ sentence, said }) || rule)
        return { time: at, kind: kinds[state], text: say(`mark.${kinds[state]}`, { what, by: nameText(by) }) }
      }),
    )
}

async function commandMarks(subjects: readonly Subject[]): Promise<readonly Mark[]> {
  const topics = new Set(subjects.flatMap(subject => subject.commands))
  const ids = new Set(subjects.flatMap(subject => subject.ids))
  if (topics.size === 0 && ids.size === 0) return []
  const { commands } = await ask('GET /api/commands', { limit: mostMarks })
  return commands
    .filter(({ topic, client }) => topics.has(topic) || (client !== undefined && ids.has(client)))
    .flatMap(({ topic, payload, user, askedAt, overAt, state, reason = '', said }) => {
      const what = nameText(`${topic} ${payload.slice(0, 60)}`)
      const text = say(user === '' ? 'mark.sent' : 'mark.sent-by', { what, by: nameText(user) })
      const marks: Mark[] = [{ time: askedAt, kind: 'sent', text }]
      if (overAt === undefined) return marks
      if (state === 'answered') marks.push({ time: overAt, kind: 'answered', text: say('mark.answered', { what }) })
      else if (state !== 'delivered')
        marks.push({
          time: overAt,
          kind: 'failed',
          text: say('mark.failed', { what, why: nameText(saidText(said) ?? (reason || state)) }),
        })
      return marks
    })
}

async function startMarks(): Promise<readonly Mark[]> {
  const { starts } = await ask('GET /api/starts', {})
  return starts.map(time => ({ time, kind: 'started', text: say('mark.started') }))
}

/** Joins marks that are nearer than `least` milliseconds to the first of them. */
export function clustersOf(marks: readonly Mark[], least: number): readonly Cluster[] {
  const clusters: { time: number; marks: Mark[] }[] = []
  for (const mark of marks) {
    const last = clusters.at(-1)
    if (last && mark.time - last.time < least) last.marks.push(mark)
    else clusters.push({ time: mark.time, marks: [mark] })
  }
  return clusters
}
