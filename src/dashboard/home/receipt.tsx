import { saidText } from '../said/said.js'
import { say } from '../texts/language.js'
import { nameText } from '../wording.js'
import type { HomeControl } from './catalogue.js'
import { useModel } from './context.js'
import { clockText } from './format.js'
import type { Order } from './orders.js'

interface Step {
  readonly word: string
  readonly done: boolean
  /** Seconds since the command was given. */
  readonly after?: number | undefined
}

/** Returns what has happened to a command, and what is still to come. */
export function stepsOf({ begun, row, seenAt }: Order): readonly Step[] {
  const after = (time: number | undefined) => (time === undefined ? undefined : Math.max(0, (time - begun) / 1_000))
  const answeredAt = row?.answer || row?.state === 'answered' ? row.overAt : undefined
  const steps: Step[] = [
    { word: say('receipt.kept'), done: row !== undefined },
    { word: say('receipt.sent'), done: row?.sentAt !== undefined, after: after(row?.sentAt) },
    { word: say('receipt.delivered'), done: row?.deliveredAt !== undefined, after: after(row?.deliveredAt) },
  ]
  if (answeredAt !== undefined) steps.push({ word: say('receipt.answered'), done: true, after: after(answeredAt) })
  if (seenAt !== undefined) steps.push({ word: say('receipt.shown'), done: true, after: after(seenAt) })
  return steps
}

/** The receipt of the newest command among some controls; nothing without a command. */
export function Receipt({ controls }: { readonly controls: readonly HomeControl[] }) {
  const { orders } = useModel()
  const newest = controls
    .map(control => ({ control, order: orders.of(control) }))
    .filter((one): one is { control: HomeControl; order: Order } => one.order !== undefined)
    .sort((a, b) => b.order.begun - a.order.begun)[0]
  if (!newest) return null
  const { control, order } = newest
  const { row, failure } = order
  const why = failure ?? (row?.state === 'failed' ? (saidText(row.said) ?? row.reason ?? '') : undefined)
  if (why !== undefined) return <Line tone="alert" text={say('receipt.failed', { why: nameText(why) })} />
  if (row?.state === 'expired') return <Line tone="alert" text={say('receipt.expired')} />
  if (row?.state === 'cancelled') return <Line tone="quiet" text={say('receipt.cancelled')} />
  if (row?.state === 'queued') {
    return (
      <p class="receipt" role="status" data-tone="active">
        <span>{say('receipt.waiting', { time: clockText(row.expiresAt) })}</span>
        <button type="button" class="link" onClick={() => void orders.cancel(control)}>
          {say('control.cancel')}
        </button>
      </p>
    )
  }
  const steps = stepsOf(order)
  return (
    <p class="receipt" role="status">
      {steps.map(({ word, done, after }) => (
        <span
          class="receipt-step"
          data-done={done}
          title={after === undefined ? word : `${word} ${say('receipt.after', { seconds: after.toFixed(1) })}`}
        >
          {word}
        </span>
      ))}
      <LastAfter steps={steps} />
    </p>
  )
}

/** How long the last step that is done took. */
function LastAfter({ steps }: { readonly steps: readonly Step[] }) {
  const last = steps.filter(({ done, after }) => done && after !== undefined).at(-1)
  return last?.after === undefined ? null : <span class="receipt-time">{`${last.after.toFixed(1)} s`}</span>
}

function Line({ tone, text }: { readonly tone: string; readonly text: string }) {
  return (
    <p class="receipt" role="status" data-tone={tone}>
      <bdi>{text}</bdi>
    </p>
  )
}
