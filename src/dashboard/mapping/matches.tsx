import { countText, nameText } from '../wording.js'
import { placeText, useMapping } from './context.js'
import type { RuleCheck } from './requests.js'
import { say, sayCount } from './words.js'

type Matched = RuleCheck['matches']['topics'][number]

const mostShown = 8

/** The known topics that the rule takes, and what decides about them today. */
export function Matches() {
  const model = useMapping()
  const { check, topic } = model
  if (!check) return null
  const { count, topics, incomplete } = check.matches
  const text = incomplete ? say('matches.some', { count: countText(count) }) : sayCount('matches', count)
  return (
    <details class="matches">
      <summary>{text}</summary>
      <ul>
        {topics.slice(0, mostShown).map(one => (
          <li key={one.topic}>
            <button
              type="button"
              class="link"
              aria-pressed={one.topic === topic}
              onClick={() => model.choose(one.topic)}
            >
              <bdi>{nameText(one.topic)}</bdi>
            </button>
            <span class="hint">
              {say('matches.today', { by: decidedText(one.now) })}
              {one.taken || check.mistakes.length > 0 ? '' : ` · ${say('matches.not-taken')}`}
            </span>
          </li>
        ))}
      </ul>
      {count > mostShown ? <p class="hint">{sayCount('matches.more', count - mostShown)}</p> : null}
    </details>
  )
}

/** Returns the words for what decides about a topic. */
export function decidedText({ place, rule, preset }: Matched['now']): string {
  if (place) return placeText(place)
  if (rule !== undefined) return nameText(rule)
  return preset === undefined ? say('by.default') : say('by.preset', { preset })
}
