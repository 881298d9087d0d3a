import { type Dependency, hubNow, type Ready } from '../api.js'
import { element, Keyed, make, put } from '../nodes.js'
import { dependencyText, spanText, stateText } from '../wording.js'
import { say } from './words.js'

interface Wait {
  readonly key: string
  readonly text: string
  readonly tone: 'waits' | 'quiet'
}

/** The backlog of each consumer, and the dependencies of the hub. */
export class Waits {
  readonly #waits: Keyed<Wait, HTMLElement>
  readonly #dependencies: Keyed<Dependency, HTMLElement>

  constructor() {
    this.#waits = new Keyed(
      element('waits'),
      row => row.key,
      () => make('li'),
      (item, { text, tone }) => {
        item.dataset.tone = tone
        put(item, text)
      },
    )
    this.#dependencies = new Keyed(
      element('dependencies'),
      row => row.name,
      () => make('li', '', make('span', 'dot'), make('span', 'dependency-name'), make('span', 'dependency-state')),
      (item, { name, state, since }) => {
        item.dataset.state = state
        put(item.children[1] as Element, dependencyText(name))
        const word = stateText(state)
        const span = since ? say('dependency.for', { state: word, span: spanText(hubNow() - since) }) : word
        put(item.children[2] as Element, span)
      },
    )
  }

  show({ dependencies, waiting = [] }: Ready): void {
    const lines = waiting.map(({ consumer, target, detail }): Wait => {
      const dependency = dependencies.find(({ name }) => dependencyText(name) === dependencyText(target))
      return { key: `${consumer} ${target}`, text: waitText(consumer, target, detail, dependency), tone: 'waits' }
    })
    const nothing: Wait = { key: '', text: say('waits.none'), tone: 'quiet' }
    this.#waits.show(lines.length > 0 ? lines : [nothing])
    // Outlets have a table of their own.
    this.#dependencies.show(dependencies.filter(({ name }) => !name.startsWith('outlet ')))
  }
}

/** Formats a wait: record waits for InfluxDB: ECONNREFUSED, since 3 min, next try in 8 s. */
function waitText(consumer: string, target: string, detail: string, dependency: Dependency | undefined): string {
  const now = hubNow()
  const { since, retryAt } = dependency ?? {}
  const facts = [
    detail,
    ...(since ? [say('waits.since', { span: spanText(now - since) })] : []),
    ...(retryAt ? [retryAt > now ? say('waits.next', { span: spanText(retryAt - now) }) : say('waits.now')] : []),
  ].filter(Boolean)
  const filling = { consumer, target: dependencyText(target) }
  return facts.length > 0
    ? say('waits.facts', { ...filling, facts: facts.join(say('and')) })
    : say('waits.for', filling)
}
