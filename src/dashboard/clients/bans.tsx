import { locale } from '../texts/language.js'
import { nameText } from '../wording.js'
import type { ClientsModel } from './model.js'
import { type BanList, lift } from './requests.js'
import { say } from './words.js'

const moments = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' })

/** The list of bans, by administrators or for guessing passwords, and until when. */
export function Bans({ bans: { bans, imposed }, model }: { readonly bans: BanList; readonly model: ClientsModel }) {
  const rows = [
    ...imposed.map(({ kind, name, until, by }) => ({ kind, name, until, by })),
    ...bans.map(({ source, until }) => ({ kind: undefined, name: source, until, by: '' })),
  ]
  if (rows.length === 0) return null
  const end = (kind: (typeof rows)[number]['kind'], name: string) =>
    model.act(async () => {
      await lift(kind === undefined ? { source: name } : { source: name, kind })
      return say('done.lifted', { name: nameText(name) })
    })
  return (
    <section class="card bans" aria-labelledby="bans-title">
      <h2 id="bans-title">{say('bans')}</h2>
      <ul>
        {rows.map(({ kind, name, until, by }) => (
          <li key={`${kind} ${name}`}>
            <span class="hint">{say(`bans.${kind ?? 'guessing'}`)}</span>
            <bdi>{nameText(name)}</bdi>
            <span class="hint">
              {say('bans.until', { time: moments.format(until) })}
              {by === '' ? '' : ` · ${say('bans.by', { user: nameText(by) })}`}
            </span>
            <button
              type="button"
              class="plain"
              aria-label={say('bans.lift-label', { name: nameText(name) })}
              onClick={() => void end(kind, name)}
            >
              {say('bans.lift')}
            </button>
          </li>
        ))}
      </ul>
    </section>
  )
}
