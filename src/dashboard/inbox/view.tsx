import { Component } from 'preact'
import { hubNow } from '../api.js'
import { bytesOf, textOf } from '../explore/bytes.js'
import type { Shell } from '../pages.js'
import { rateText } from '../sizes.js'
import { ageText, nameText, reasonText } from '../wording.js'
import { InboxModel } from './model.js'
import type { InboxGroup } from './requests.js'
import { say, sayCount } from './words.js'

/** Topics that no rule and no preset knows, by shape, each with a rule that can be accepted. */
export class InboxView extends Component<{ readonly shell: Shell }> {
  readonly #model = new InboxModel()

  override componentDidMount(): void {
    this.#model.onChange = () => this.forceUpdate()
    void this.#model.load()
  }

  override componentWillUnmount(): void {
    this.#model.onChange = () => {}
  }

  override render({ shell }: { readonly shell: Shell }) {
    const { answer, failure, running, outcomes } = this.#model
    const mayChange = shell.session?.mayChange === true
    return (
      <div class="inbox">
        <div class="inbox-head">
          <h2>{answer ? (answer.topics === 0 ? say('none') : sayCount('topics', answer.topics)) : say('title')}</h2>
          <button type="button" class="plain" disabled={running !== undefined} onClick={() => void this.#model.load()}>
            {say('again')}
          </button>
        </div>
        <p class="hint">{say('hint')}</p>
        {mayChange ? null : <p class="hint">{say('admin')}</p>}
        <p class="trouble" role="alert">
          {failure === '' ? '' : say('failed', { why: failure })}
        </p>
        <div role="status" class="inbox-outcomes">
          {outcomes.map(({ sentence }, i) => (
            <p key={i}>
              <bdi>{sentence}</bdi>
            </p>
          ))}
        </div>
        {outcomes.at(-1)?.canUndo && !running ? (
          <div class="inbox-acts">
            <button type="button" class="plain" onClick={() => void this.#model.undo()}>
              {say('undo')}
            </button>
            <a class="plain" href="#explore&rules">
              {say('rules')}
            </a>
          </div>
        ) : null}
        {answer || failure !== '' ? null : <p class="hint">{say('loading')}</p>}
        <ul>
          {(answer?.groups ?? []).map((group, i) => (
            <Group key={group.filter} model={this.#model} {...{ group, mayChange, number: i + 1 }} />
          ))}
        </ul>
        {answer && answer.more > 0 ? <p class="hint">{sayCount('more', answer.more)}</p> : null}
        {answer?.incomplete ? <p class="hint">{say('incomplete')}</p> : null}
      </div>
    )
  }
}

interface GroupProperties {
  readonly model: InboxModel
  readonly group: InboxGroup
  readonly mayChange: boolean
  readonly number: number
}

function Group({ model, group, mayChange, number }: GroupProperties) {
  const { filter, topic, topics, rate, messages, last, sample } = group
  const name = nameText(filter)
  const running = model.running?.filter === filter ? model.running : undefined
  const isRefused = group.fates.refused > 0
  return (
    <li class="card" aria-labelledby={`inbox-${number}`}>
      <h3 id={`inbox-${number}`}>
        <bdi>{name}</bdi>
      </h3>
      <p class="inbox-facts">
        <span>{sayCount('count', topics)}</span>
        <span>{say('rate', { rate: rateText(rate) })}</span>
        <span>{sayCount('messages', messages)}</span>
        {last === undefined ? null : <span>{say('last', { age: ageText(hubNow() - last) })}</span>}
        <span class="mark" data-mark={isRefused ? 'refused' : 'stored'}>
          {fateText(group)}
        </span>
      </p>
      {sample ? (
        <div>
          <p class="hint">
            <bdi>{say('sample', { topic: nameText(topic) })}</bdi>
          </p>
          <code class="inbox-sample">{sampleText(sample)}</code>
        </div>
      ) : (
        <p class="hint">{say('sample.none')}</p>
      )}
      <Rule group={group} />
      {running ? (
        <p class="inbox-running" role="status">
          <progress
            aria-label={say('progress', { filter: name })}
            max={running.total ? Math.max(running.total, running.done) : 1}
            value={running.total ? running.done : undefined}
          />
          {running.text}
        </p>
      ) : null}
      <div class="inbox-acts">
        {mayChange ? (
          <button
            type="button"
            class="plain strong"
            disabled={model.running !== undefined}
            aria-label={say('accept.label', { filter: name })}
            onClick={() => void model.accept(group)}
          >
            {say('accept')}
          </button>
        ) : null}
        <a
          class="plain"
          href={`#explore&map&${new URLSearchParams({ topic })}`}
          aria-label={say('change.label', { filter: name })}
        >
          {say('change')}
        </a>
      </div>
    </li>
  )
}

/** The proposed rule, in words and in full. */
function Rule({ group: { rule } }: { readonly group: InboxGroup }) {
  const { topic = '', measurement = '' } = rule as { readonly topic?: string; readonly measurement?: string }
  const names = [...topic.matchAll(/\{(\w[\w-]*)(?:\.\.\.)?\}/g)].map(([, name]) => name)
  return (
    <details class="inbox-rule">
      <summary>
        <span class="hint">{say('proposed')}:</span> <bdi>{nameText(topic)}</bdi>.{' '}
        {say('measurement', { measurement: nameText(measurement) })}
        {names.length > 0 ? `, ${say('tags', { names: names.join(', ') })}` : ''}
      </summary>
      <p class="hint">{say('rule.whole')}</p>
      <code>{nameText(JSON.stringify(rule))}</code>
    </details>
  )
}

function fateText({ fates, reasons }: InboxGroup): string {
  const [reason = ''] = Object.entries(reasons).sort((a, b) => b[1] - a[1])[0] ?? []
  if (fates.refused > 0) return say('fate.refused', { why: reasonText(reason) || reason })
  if (fates.stored > 0) return say('fate.stored')
  return fates.ignored > 0 ? say('fate.ignored') : say('fate.unknown')
}

/** Longest sample that is shown, in characters. */
const longest = 400

function sampleText({ payload, bytes }: NonNullable<InboxGroup['sample']>): string {
  if (bytes === 0) return say('sample.empty')
  const found = bytesOf(payload.slice(0, 1_200))
  const hex = () => [...found.subarray(0, 80)].map(byte => byte.toString(16).padStart(2, '0')).join(' ')
  const text = textOf(found) ?? hex()
  return nameText(text.length > longest || bytes > found.length ? `${text.slice(0, longest)}…` : text)
}
