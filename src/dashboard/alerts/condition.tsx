import type { ComponentChildren } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { Chooser } from './chooser.js'
import { differenceOf, hubConditions, hubCounts, type Kind, kinds, rateOf, seriesName } from './definition.js'
import type { EditModel } from './edit-model.js'
import type { AlertsKey } from './en.js'
import { DurationInput, NumberInput, Select, TextInput } from './inputs.js'
import { otherText, templateOf, valuesOf, valuesText, whatText } from './rule-words.js'
import { Sentence } from './sentence.js'
import { say } from './words.js'

/** The first sentence: what is watched, and the condition. */
export function Condition({ edit }: { readonly edit: EditModel }) {
  const { kind, rule, unit, mistakes, isReadOnly: isOff } = edit
  const isWrong = (field: string) => mistakes.some(one => one.field === field)
  const limit = (name: 'above' | 'below') => (
    <NumberInput
      label={say(`limit.${name}`)}
      {...{ unit, isOff, value: rule[name], isWrong: isWrong(name) }}
      onValue={value => edit.set({ [name]: value })}
    />
  )
  const rate = rateOf(rule)
  const step = (name: 'above' | 'below', sign: 1 | -1, label: AlertsKey) => (
    <NumberInput
      label={say(label)}
      {...{ unit, isOff, isPositive: true, isWrong: isWrong('rate') }}
      value={typeof rate[name] === 'number' ? sign * rate[name] : undefined}
      onValue={value => edit.set({ rate: { ...rate, [name]: value === null ? null : sign * value } })}
    />
  )
  const time = (field: 'silent' | 'offline') => (
    <DurationInput
      label={say(`time.${field}`)}
      {...{ isOff, value: rule[field], isWrong: isWrong(field) }}
      onValue={value => edit.set({ [field]: value })}
    />
  )
  const parts: Record<string, ComponentChildren> = {
    what: <What edit={edit} />,
    kind: <KindSelect edit={edit} />,
    above: limit('above'),
    below: limit('below'),
    other: <Other edit={edit} />,
    rise: step('above', 1, 'limit.rise'),
    fall: step('below', -1, 'limit.fall'),
    per: (
      <DurationInput
        label={say('time.per')}
        {...{ isOff, value: rate.per ?? '1m', isWrong: isWrong('rate') }}
        onValue={per => edit.set({ rate: { ...rate, per } })}
      />
    ),
    over: (
      <DurationInput
        label={say('time.over')}
        none={say('over.reading')}
        {...{ isOff, value: rate.over, isWrong: isWrong('rate') }}
        onValue={over => edit.set({ rate: withOver(rate, over) })}
      />
    ),
    values: <Values edit={edit} />,
    silent: time('silent'),
    offline: time('offline'),
    times: (
      <NumberInput
        label={say('limit.times')}
        {...{ isOff, value: rule.unusual === true ? 6 : rule.unusual, isWrong: isWrong('unusual') }}
        onValue={unusual => edit.set({ unusual })}
      />
    ),
    hub: <Hub edit={edit} />,
  }
  const fields = ['what', '', 'above', 'below', 'rate', 'silent', 'offline', 'equals', 'not', 'unusual', 'hub', 'minus']
  const selectors = ['measurement', 'field', 'device', 'class', 'tags', 'of']
  const text = kind ? say(templateOf(kind, rule)) : say('rule.begin')
  return <Sentence {...{ text, parts, mistakes }} fields={[...fields, ...selectors]} />
}

function withOver({ over: _, ...rate }: ReturnType<typeof rateOf>, over: string | undefined) {
  return over === undefined ? rate : { ...rate, over }
}

/** The button that names the watched value and opens the choice. */
function What({ edit }: { readonly edit: EditModel }) {
  const [isOpen, setOpen] = useState(false)
  const button = useRef<HTMLButtonElement>(null)
  const { rule, kind, isReadOnly, oneName, mistakes } = edit
  return (
    <>
      <span class="blank" data-wrong={mistakes.some(({ field }) => field === 'what')}>
        <button
          type="button"
          ref={button}
          class="blank-button"
          disabled={isReadOnly}
          aria-haspopup="dialog"
          onClick={() => setOpen(true)}
        >
          <bdi>{kind || oneName ? whatText(rule, oneName) : say('what.choose')}</bdi>
        </button>
      </span>
      {isOpen ? (
        <Chooser
          edit={edit}
          onClose={() => {
            setOpen(false)
            button.current?.focus()
          }}
        />
      ) : null}
    </>
  )
}

function KindSelect({ edit }: { readonly edit: EditModel }) {
  const { kind } = edit
  const options = kinds.map(one => [one, say(`kind.${one}`)] as const)
  return (
    <Select
      label={say('kind.label')}
      value={kind ?? ''}
      options={kind ? options : [['' as Kind | '', say('kind.choose')], ...options]}
      isOff={edit.isReadOnly}
      isWrong={edit.mistakes.some(({ field }) => field === '')}
      onValue={next => next !== '' && edit.setKind(next)}
    />
  )
}

/** The value with which another is compared; a choice among those of the catalogue. */
function Other({ edit }: { readonly edit: EditModel }) {
  const [isOpen, setOpen] = useState(false)
  const { rule, isReadOnly } = edit
  const { check } = edit.trial
  return (
    <>
      <span class="blank">
        <button
          type="button"
          class="blank-button"
          disabled={isReadOnly}
          aria-haspopup="dialog"
          onClick={() => setOpen(true)}
        >
          <bdi>{otherText(rule.minus) || say('what.choose')}</bdi>
        </button>
      </span>
      {isOpen ? (
        <Chooser
          edit={edit}
          onClose={() => setOpen(false)}
          onOther={series => {
            const from = seriesName(check?.selected[0]?.series ?? '')
            const to = seriesName(series)
            if (to) edit.set({ minus: differenceOf(from, to) })
          }}
        />
      ) : null}
    </>
  )
}

/** Texts, numbers or states with which the value is compared. */
function Values({ edit }: { readonly edit: EditModel }) {
  const { rule, one, isReadOnly, mistakes } = edit
  const name = rule.equals === undefined ? 'not' : 'equals'
  const [typed, setTyped] = useState<string>()
  const known = one?.value.texts?.map(({ value }) => String(value)) ?? []
  const list = known.length > 0 ? known : one?.value.type === 'boolean' ? ['true', 'false'] : []
  return (
    <TextInput
      label={say('values.label')}
      value={typed ?? valuesText(rule[name])}
      list={list}
      isOff={isReadOnly}
      isWrong={mistakes.some(({ field }) => field === name)}
      onValue={text => {
        setTyped(text)
        const values = valuesOf(text)
        edit.set({ [name]: values?.length === 1 ? values[0] : (values ?? null) })
      }}
    />
  )
}

/** A condition of the hub itself, with a limit where there is a number. */
function Hub({ edit }: { readonly edit: EditModel }) {
  const { rule, isReadOnly: isOff, mistakes } = edit
  const hub = String(rule.hub)
  return (
    <span class="blanks">
      <Select
        label={say('hub.label')}
        value={hub}
        options={hubConditions.map(one => [one as string, say(`hub.${one}`)] as const)}
        isOff={isOff}
        onValue={next => edit.set({ hub: next, ...(!hubCounts.includes(next) && { above: undefined }) })}
      />
      {hubCounts.includes(hub) ? (
        <>
          {' > '}
          <NumberInput
            label={say('limit.above')}
            {...{ isOff, value: rule.above ?? 0, isWrong: mistakes.some(({ field }) => field === 'above') }}
            onValue={above => edit.set({ above })}
          />
        </>
      ) : null}
    </span>
  )
}
