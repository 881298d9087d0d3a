import { type CommandRow, cancelCommand, fetchCommand, hubNow, sendCommand, type Value } from '../api.js'
import { type HomeControl, type HomeDevice, keyOf } from './catalogue.js'
import type { Live } from './live.js'

/** A command that this page has sent, and what is known of the command. */
export interface Order {
  readonly control: string
  /** Milliseconds of the hub's clock. */
  readonly begun: number
  /** The command as last told by the hub; undefined before that is on disk. */
  readonly row?: CommandRow
  /** When the device showed the state that was wanted. */
  readonly seenAt?: number
  /** Why the hub did not take the command. */
  readonly failure?: string
}

const askEvery = 500
/** How long a receipt stays after the end. */
const shownFor = 12_000
/** How long the state of the device is waited for after the command has arrived. */
const seenWithin = 15_000

export function controlKey({ topic, name, kind }: HomeControl): string {
  return `${kind} ${topic} ${name}`
}

/** The commands that were given on this page, one for each control, with their receipts. */
export class Orders {
  readonly #live: Live
  readonly #changed: (control: string) => void
  readonly #orders = new Map<string, Order>()
  readonly #ends = new Map<string, () => void>()

  /** @param changed Called with the key of the control whenever a receipt has changed. */
  constructor(live: Live, changed: (control: string) => void) {
    this.#live = live
    this.#changed = changed
  }

  of(control: HomeControl): Order | undefined {
    return this.#orders.get(controlKey(control))
  }

  /** Sends a payload. `wanted`: the value of the state that shows that the device has done so. */
  async send(control: HomeControl, payload: string, wanted: Value | undefined): Promise<void> {
    const key = controlKey(control)
    const begun = hubNow()
    this.#put({ control: key, begun })
    const { state } = control
    this.#ends.get(key)?.()
    if (state && wanted !== undefined) {
      const of = keyOf(state)
      const look = () => {
        const now = this.#live.of(of)
        const order = this.#orders.get(key)
        if (!order || order.begun !== begun || order.seenAt !== undefined || !now) return
        if (this.#live.heard(state.topic) >= begun - 1_000 && isSame(now.value, wanted)) {
          this.#put({ ...order, seenAt: hubNow() })
        }
      }
      this.#ends.set(key, this.#live.watch(of, look))
    }
    try {
      this.#follow(key, begun, await sendCommand({ topic: control.topic, payload }))
    } catch (error) {
      this.#put({ control: key, begun, failure: (error as Error).message })
    }
  }

  /** Cancels the command of a control, if still under way. */
  async cancel(control: HomeControl): Promise<void> {
    const row = this.of(control)?.row
    if (row) await cancelCommand(row.id).catch(() => {})
  }

  #follow(key: string, begun: number, row: CommandRow): void {
    const order = this.#orders.get(key)
    // Another command has taken the place of this one.
    if (order?.begun !== begun) return
    this.#put({ ...order, row })
    const mayBeSeen = this.#ends.has(key) && order.seenAt === undefined && row.state !== 'cancelled'
    if (row.over && !(mayBeSeen && hubNow() - (row.overAt ?? begun) < seenWithin)) {
      this.#endSoon(key, begun)
      return
    }
    setTimeout(() => {
      const next = row.over ? Promise.resolve(row) : fetchCommand(row.id).catch(() => row)
      void next.then(known => this.#follow(key, begun, known))
    }, askEvery)
  }

  #endSoon(key: string, begun: number): void {
    this.#ends.get(key)?.()
    this.#ends.delete(key)
    setTimeout(() => {
      if (this.#orders.get(key)?.begun !== begun) return
      this.#orders.delete(key)
      this.#changed(key)
    }, shownFor)
  }

  #put(order: Order): void {
    this.#orders.set(order.control, order)
    this.#changed(order.control)
    if (order.failure !== undefined) this.#endSoon(order.control, order.begun)
  }
}

/** Whether two values mean the same: devices write numbers and states as texts, too. */
export function isSame(a: Value, b: Value): boolean {
  return a === b || String(a).toLowerCase() === String(b).toLowerCase()
}

/** The newest command of a device that this page has sent. */
export function newestOrder(
  { controls }: HomeDevice,
  orderOf: (control: HomeControl) => Order | undefined,
): Order | undefined {
  let newest: Order | undefined
  for (const control of controls) {
    const order = orderOf(control)
    if (order && (!newest || order.begun >= newest.begun)) newest = order
  }
  return newest
}
