import { nameText } from '../wording.js'
import { useAlerts } from './context.js'
import { hasLimits, severities } from './definition.js'
import type { EditModel } from './edit-model.js'
import { DurationInput, NumberInput, Select } from './inputs.js'
import { ScheduleInput } from './schedule-input.js'
import { Sentence } from './sentence.js'
import { Told } from './told.js'
import { say } from './words.js'

interface Properties {
  readonly edit: EditModel
}

/** The sentences behind the condition: how long, when it is over, how bad, when, what holds it back, who is told. */
export function Clauses({ edit }: Properties) {
  const { rule, kind, mistakes, unit, isReadOnly: isOff } = edit
  const isWrong = (field: string) => mistakes.some(one => one.field === field)
  const isTimed = kind === 'silent' || kind === 'silent-usual' || kind === 'device-silent' || kind === 'offline'
  const severity = severities.find(one => one === rule.severity) ?? 'warning'
  return (
    <>
      {isTimed ? null : (
        <Sentence
          {...{ mistakes, fields: ['for'] }}
          text={say(rule.for === undefined ? 'clause.at-once' : 'clause.for')}
          parts={{
            for: (
              <DurationInput
                label={say('time.for')}
                none={say('for.none')}
                {...{ isOff, value: rule.for, isWrong: isWrong('for') }}
                onValue={value => edit.set({ for: value })}
              />
            ),
          }}
        />
      )}
      {hasLimits(kind) ? (
        <Sentence
          {...{ mistakes, fields: ['hysteresis'] }}
          text={say('clause.back')}
          parts={{
            hysteresis: (
              <NumberInput
                label={say('limit.hysteresis')}
                {...{ unit, isOff, isPositive: true, value: rule.hysteresis ?? 0, isWrong: isWrong('hysteresis') }}
                onValue={value => edit.set({ hysteresis: value === 0 ? undefined : value })}
              />
            ),
          }}
        />
      ) : null}
      <Sentence
        {...{ mistakes, fields: ['severity', 'when'] }}
        text={say('clause.severity')}
        parts={{
          severity: (
            <Select
              label={say('filter.severity')}
              value={severity}
              options={severities.map(one => [one, say(`severity.${one}`)] as const)}
              isOff={isOff}
              onValue={next => edit.set({ severity: next })}
            />
          ),
          when: (
            <Select
              label={say('when.label')}
              value={rule.when === undefined ? 'always' : 'times'}
              options={[
                ['always', say('when.always')],
                ['times', say('when.times')],
              ]}
              isOff={isOff}
              onValue={next => edit.set({ when: next === 'always' ? undefined : 'mon-fri 08:00-18:00' })}
            />
          ),
        }}
      />
      {rule.when === undefined ? null : (
        <ScheduleInput value={rule.when} isOff={isOff} onValue={when => edit.set({ when })} />
      )}
      <Told edit={edit} />
      <details class="scope-exact" open={rule.minus !== undefined || rule.unless !== undefined}>
        <summary>{say('clause.more')}</summary>
        {hasLimits(kind) ? <Compare edit={edit} /> : null}
        <Unless edit={edit} />
      </details>
    </>
  )
}

/** Whether the value itself is compared with the limits, or the difference to another value. */
function Compare({ edit }: Properties) {
  const { rule, mistakes, isReadOnly } = edit
  return (
    <Sentence
      {...{ mistakes, fields: ['minus'] }}
      text={say('clause.compare')}
      parts={{
        compare: (
          <Select
            label={say('compare.label')}
            value={rule.minus === undefined ? 'value' : 'difference'}
            options={[
              ['value', say('compare.value')],
              ['difference', say('compare.difference')],
            ]}
            isOff={isReadOnly}
            onValue={next => edit.set({ minus: next === 'value' ? undefined : {} })}
          />
        ),
      }}
    />
  )
}

interface Held {
  readonly rule: string
  readonly same: unknown
}

function heldOf(unless: unknown): readonly Held[] {
  const all = Array.isArray(unless) ? unless : unless === undefined ? [] : [unless]
  return all.map(one =>
    typeof one === 'object' && one !== null
      ? { rule: String((one as Held).rule ?? ''), same: (one as Held).same }
      : { rule: String(one), same: undefined },
  )
}

/** Other rules whose alerts hold back those of this one. */
function Unless({ edit }: Properties) {
  const { ruleNames } = useAlerts()
  const { rule, mistakes, isReadOnly: isOff } = edit
  const held = heldOf(rule.unless)
  const others = ruleNames.filter(name => name !== edit.name)
  const put = (next: readonly Held[]) => {
    const written = next.map(one => (one.same === undefined ? one.rule : { rule: one.rule, same: one.same }))
    edit.set({ unless: written.length === 0 ? undefined : written.length === 1 ? written[0] : written })
  }
  if (others.length === 0 && held.length === 0) return null
  const change = (at: number, one: Partial<Held>) => put(held.map((each, i) => (i === at ? { ...each, ...one } : each)))
  return (
    <Sentence
      {...{ mistakes, fields: ['unless'] }}
      text={say('clause.unless')}
      parts={{
        unless: (
          <span class="blanks">
            {held.map(({ rule: name, same }, i) => (
              <span class="blanks" key={i}>
                {i > 0 ? ` ${say('or')} ` : ''}
                <Select
                  label={say('unless.rule')}
                  value={name}
                  options={[
                    ['', say('unless.remove')],
                    ...[...new Set([name, ...others])].map(one => [one, nameText(one)] as const),
                  ]}
                  isOff={isOff}
                  onValue={next => (next === '' ? put(held.filter((_, at) => at !== i)) : change(i, { rule: next }))}
                />{' '}
                <Select
                  label={say('unless.same')}
                  value={same === undefined ? '' : [same].flat().map(String).join(',')}
                  options={sameOptions(same)}
                  isOff={isOff}
                  onValue={next =>
                    change(i, { same: next === '' ? undefined : next.includes(',') ? next.split(',') : next })
                  }
                />
              </span>
            ))}
            {held.length === 0 ? (
              <Select
                label={say('unless.rule')}
                value=""
                options={[
                  ['', say('unless.none')],
                  ...others.map(one => [one, say('unless.while', { rule: nameText(one) })] as const),
                ]}
                isOff={isOff}
                onValue={next => next !== '' && put([{ rule: next, same: undefined }])}
              />
            ) : isOff ? null : (
              <button
                type="button"
                class="plain"
                onClick={() => put([...held, { rule: others[0] ?? '', same: undefined }])}
              >
                {say('unless.add')}
              </button>
            )}
          </span>
        ),
      }}
    />
  )
}

function sameOptions(same: unknown): readonly (readonly [string, string])[] {
  const own = same === undefined ? '' : [same].flat().map(String).join(',')
  const usual = [
    ['', say('unless.any')],
    ['device', say('unless.device')],
  ] as const
  return usual.some(([one]) => one === own) ? usual : [...usual, [own, own]]
}
