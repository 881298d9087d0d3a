import { join } from 'node:path'
import type { Reader } from '../access/rules.js'
import type { AlertActions, AlertTransition, TransitionListener, TransitionLog } from '../alerts/transition.js'
import type { Files } from '../disk/files.js'
import { describe, HubError } from '../errors.js'
import type { IncidentReporter } from '../observe/incidents.js'
import type { SentenceLog } from '../observe/log.js'
import type { Part } from '../runtime/lifecycle.js'
import type { MillisecondClock } from '../runtime/time.js'
import { readRight, signRight } from './acknowledge-token.js'
import { Deliveries, targetOf } from './deliveries.js'
import { DueTimes } from './due-times.js'
import { type HubKeys, hubKeys } from './hub-keys.js'
import { type AlertMessage, openAlerts } from './message.js'
import type { NotifyPublisher } from './mqtt.js'
import { AlertOutbox } from './outbox.js'
import type { NotifyPlan } from './plan.js'
import { type PlanListener, PlanWatch } from './plan-watch.js'
import { type AlertAccess, type Audience, escalated, maxWatched, routed } from './routing.js'
import { type PushSubscription, Subscriptions } from './subscriptions.js'
import { type RouteStatus, routesOf, statusOf, type TargetStatus } from './target-status.js'
import { Targets, type TargetsHost } from './targets.js'
import { valuesOf } from './template.js'

export type { NotifyPublisher } from './mqtt.js'
export { readPlan } from './plan-file.js'
export type { AlertAccess } from './routing.js'
export type { RouteStatus, TargetStatus } from './target-status.js'

/** A browser that a user wants to be notified on. */
export type NewSubscription = PushSubscription & { readonly user: string; readonly agent: string }

/** Tells what users may read now. */
export interface Readers {
  /** Resolves with the readers in the order of the names. */
  readersOf(users: readonly string[]): Promise<readonly Reader[]>
}

export interface NotificationsOptions {
  /** Folder of the outbox, the subscriptions and the keys. */
  readonly dir: string
  /** Path of the file of targets and routes; empty: browsers that subscribe are notified. */
  readonly file: string
  /** Whether browsers that subscribe are notified while there is no file. */
  readonly isOptional: boolean
  readonly zone: string
  readonly alerts: TransitionLog & AlertActions
  readonly readers: Readers
  readonly access: AlertAccess
  readonly publisher: NotifyPublisher
  readonly incidents: IncidentReporter
  readonly log: SentenceLog
  /** Milliseconds since the epoch. */
  readonly clock?: MillisecondClock
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic?: MillisecondClock
  readonly files?: Files
}

const batch = 500
const lookMs = 250
/** How long the button of a notification acknowledges. */
const rightMs = 864e5
/** Most alerts that one button acknowledges. */
const maxAcknowledged = 10

/**
 * Tells people of alerts: every transition is handled once, whatever is killed in between, and each message is tried until
 * its target has taken it.
 */
export class Notifications implements Part, TransitionListener, TargetsHost, PlanListener {
  readonly name = 'notifications'
  readonly #options: Required<Omit<NotificationsOptions, 'files'>>
  readonly #outbox: AlertOutbox
  readonly #subscriptions: Subscriptions
  readonly #plans: PlanWatch
  readonly #targets: Targets
  readonly #deliveries: Deliveries
  readonly #due: DueTimes
  readonly #files: Files | undefined
  #keys: HubKeys | undefined
  #keysTrouble = ''
  #handling: Promise<void> = Promise.resolve()
  #wake = () => {}
  #timer: NodeJS.Timeout | undefined
  #skipped = 0
  #handledBefore = 0
  #isEscalating = false
  /** Place from which a new list of transitions is read. */
  #restartAt: number | undefined

  constructor({ files, ...options }: NotificationsOptions) {
    const filled = { clock: Date, monotonic: performance, ...options }
    const { dir, log, incidents, clock, monotonic } = filled
    this.#options = filled
    this.#files = files
    const disk = files ? { files } : {}
    this.#outbox = new AlertOutbox({ dir: join(dir, 'outbox'), incidents, log, ...disk })
    this.#subscriptions = new Subscriptions({ path: join(dir, 'subscriptions.json'), incidents, ...disk })
    this.#plans = new PlanWatch({ ...options, listener: this, log })
    this.#targets = new Targets({
      plans: this.#plans,
      host: this,
      subscriptions: this.#subscriptions,
      publisher: options.publisher,
      log,
    })
    this.#deliveries = new Deliveries({ outbox: this.#outbox, book: this.#targets, clock, monotonic, log })
    this.#due = new DueTimes(clock, monotonic)
  }

  /** Reads what is on disk, and begins to handle transitions and to send. */
  async start(): Promise<void> {
    await this.#outbox.start()
    this.#handledBefore = this.#outbox.state.handled
    this.#readKeys()
    this.#subscriptions.start()
    this.#plans.start()
    this.#handling = this.#handle()
    this.#timer = setInterval(() => this.#look(), lookMs)
  }

  /** Stops to handle and to send. What waits is sent after the next start. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#plans.stop()
    const stopped = this.#deliveries.stop()
    this.#wake()
    await stopped
    await this.#handling
    await this.#subscriptions.stop()
    await this.#outbox.stop()
  }

  /** A sequence that was handled before the start begins anew: the list of transitions was lost, and so is the place. */
  changed({ sequence }: AlertTransition): void {
    if (sequence <= this.#handledBefore) this.#restartAt ??= sequence - 1
    this.#wake()
  }

  /** Returns the key for which browsers subscribe, and the browsers of a user. */
  pushState(user: string) {
    const subscriptions = this.#subscriptions.of([user]).map(({ id, created, agent }) => ({ id, created, agent }))
    return { publicKey: this.keys.publicKey, subscriptions }
  }

  /** Keeps the subscription of a browser. Resolves with the id when it is on disk. */
  async subscribe(given: NewSubscription): Promise<string> {
    const [reader] = await this.#options.readers.readersOf([given.user])
    if (!reader?.isKnown) {
      throw new HubError('forbidden', 'notifications are for a user: sign in with a name that is in auth.file')
    }
    const created = this.#options.clock.now()
    const plan = this.#plans.current
    const allowsPrivate = [...(plan?.targets.values() ?? [])].some(one => one.type === 'web-push' && one.private)
    return this.#subscriptions.add({ ...given, created }, allowsPrivate)
  }

  /** Ends a subscription of a user. Resolves with false when there is none. */
  async unsubscribe(user: string, id: string): Promise<boolean> {
    return (await this.#subscriptions.remove(id, user)) !== undefined
  }

  /** Sends a test to a target, once. Rejects with `not_found`, or with what the target said. */
  async test(name: string): Promise<number> {
    const plan = this.#plans.current
    if (!plan) throw new HubError('bad_request', `notify.file: ${this.#plans.trouble}`)
    const target = plan.targets.get(name)
    if (!target) {
      throw new HubError('not_found', `there is no target ${name}; there are ${[...plan.targets.keys()].join(', ')}`)
    }
    const addresses = this.#targets.addressesOf(name)
    if (addresses.length === 0) throw new HubError('bad_request', `no browser has subscribed to target ${name} yet`)
    const sent = await Promise.allSettled(addresses.map(address => this.#deliveries.test(address)))
    const failures = sent.flatMap(one => (one.status === 'rejected' ? [describe(one.reason)] : []))
    if (failures.length === 0) return addresses.length
    const of = addresses.length > 1 ? ` (${failures.length} of ${addresses.length})` : ''
    throw new HubError('overloaded', `target ${name} fails${of}: ${failures[0]}`)
  }

  /** Acknowledges by the button of a notification. Rejects with `forbidden` for a token that gives no right. */
  async acknowledgeBy(token: string, note?: string): Promise<{ readonly acknowledged: number; readonly by: string }> {
    const { alerts, clock, readers } = this.#options
    const right = readRight(this.keys.tokens, token, clock.now())
    const id = right?.address.split('/')[1]
    const isThere = right && this.#targets.targetOf(right.address) !== undefined
    const user = id === undefined ? undefined : this.#subscriptions.get(id)?.user
    const [reader] = user === undefined ? [] : await readers.readersOf([user])
    if (!right || !isThere || (id !== undefined && !reader?.isKnown)) {
      throw new HubError('forbidden', 'this notification is too old, or its receiver is no more; use the dashboard')
    }
    const done = await Promise.allSettled(right.alerts.map(alert => alerts.acknowledge(alert, right.by, note)))
    const isNews = (error: unknown) => !(error instanceof HubError && error.code === 'not_found')
    const failed = done.find(one => one.status === 'rejected' && isNews(one.reason))
    if (failed?.status === 'rejected') throw failed.reason
    return { acknowledged: done.filter(one => one.status === 'fulfilled').length, by: right.by }
  }

  onPlan(): void {
    this.#wake()
  }

  async closed(address: string): Promise<void> {
    await this.#outbox.record({ is: 'closed', to: address }, this.#deliveries.signal)
  }

  valuesFor(message: AlertMessage, address: string) {
    const { zone, url } = this.#planOrUsual
    return valuesOf(message, zone, { url, acknowledgeToken: this.tokenFor(message, address) })
  }

  tokenFor(message: AlertMessage, address: string): string {
    const open = openAlerts(message)
    if (!this.#keys || open.length === 0 || open.length > maxAcknowledged || message.more > 0) return ''
    const user = this.#subscriptions.get(address.split('/')[1] ?? '')?.user
    const by = user || targetOf(address)
    return signRight(this.keys.tokens, { alerts: open, by, address, expires: message.made + rightMs })
  }

  /** Returns each target and how it does. */
  status(): readonly TargetStatus[] {
    const { state } = this.#outbox
    return statusOf({ state, plan: this.#plans.current, deliveries: this.#deliveries, targets: this.#targets })
  }

  /** Returns the routes in effect. */
  routes(): readonly RouteStatus[] {
    return routesOf(this.#planOrUsual)
  }

  /** Returns a sentence while notifications do not arrive. */
  alarm(): string | undefined {
    const { trouble } = this.#plans
    const sentences = [
      ...(trouble ? [`notify.file: ${trouble}`] : []),
      ...(this.#keysTrouble ? [`browsers are not notified: ${this.#keysTrouble}`] : []),
      ...(this.#outbox.trouble ? [`notifications cannot be written to the disk: ${this.#outbox.trouble}`] : []),
      ...this.status().flatMap(({ target, trouble, since, waiting }) => {
        if (!trouble) return []
        const from = since === undefined ? '' : ` since ${new Date(since).toISOString()}`
        return [`notifications to ${target} fail${from}: ${trouble}; ${waiting} wait`]
      }),
    ]
    return sentences.length > 0 ? sentences.join('; ') : undefined
  }

  /** Returns the numbers of transitions that no message tells of: skipped as the list of transitions was cut. */
  get skipped(): number {
    return this.#skipped
  }

  get keys(): HubKeys {
    if (!this.#keys) this.#readKeys()
    if (!this.#keys) throw new HubError('data_dir_unusable', this.#keysTrouble)
    return this.#keys
  }

  /** Without keys, as the disk refuses them, everything but browsers is notified. */
  #readKeys(): void {
    try {
      this.#keys = hubKeys(join(this.#options.dir, 'keys.json'), this.#files)
      this.#keysTrouble = ''
    } catch (error) {
      if (!this.#keysTrouble) this.#options.log.warn(`notify: no keys for browsers and buttons: ${describe(error)}`)
      this.#keysTrouble = describe(error)
    }
  }

  get #planOrUsual(): NotifyPlan {
    return this.#plans.current ?? this.#plans.usual
  }

  /** Handles transitions until the end. Without a valid file they wait in the list of transitions. */
  async #handle(): Promise<void> {
    const { signal } = this.#deliveries
    const { log } = this.#options
    for (let failures = 0; !signal.aborted; ) {
      const news = new Promise<void>(resolve => {
        this.#wake = resolve
      })
      try {
        const plan = this.#plans.current
        if (plan && (await this.#handleBatch(plan))) continue
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        if (failures++ === 0) log.warn(`notifications wait: ${describe(error)}; retrying`)
        const timer = setTimeout(this.#wake, 1_000)
        await news
        clearTimeout(timer)
        continue
      }
      await news
    }
  }

  /** Resolves with false when there was nothing to handle. */
  async #handleBatch(plan: NotifyPlan): Promise<boolean> {
    const { alerts, incidents, clock, log } = this.#options
    const { state } = this.#outbox
    const handled = this.#restartAt ?? state.handled
    const { transitions } = await alerts.after(handled, batch)
    if (transitions.length === 0) return false
    const gap = (transitions[0]?.sequence ?? 0) - handled - 1
    if (gap > 0) {
      this.#skipped += gap
      incidents.report('notify_gap', `${gap} changes of alerts were deleted before notifications could handle them`)
    }
    const room = maxWatched - state.escalations.size
    const { entry, unwatched, missing } = routed(transitions, await this.#audience(plan), clock.now(), room)
    if (unwatched > 0) log.warn(`notify: ${unwatched} alerts are not watched for escalation, as ${maxWatched} are`)
    for (const [target, rule] of missing) {
      const sentence = `rule ${rule} names the target ${target}, which notify.file does not have: it is not told`
      incidents.report('notify_target', sentence)
    }
    await this.#outbox.record(entry, this.#deliveries.signal)
    if (this.#restartAt !== undefined) this.#handledBefore = 0
    this.#restartAt = undefined
    this.#deliveries.look()
    return true
  }

  async #audience(plan: NotifyPlan): Promise<Audience> {
    const { readers, access } = this.#options
    const isPushed = [...plan.targets.values()].some(({ type }) => type === 'web-push')
    const users = isPushed ? [...new Set(this.#subscriptions.of().map(({ user }) => user))] : []
    const known = users.length > 0 ? await readers.readersOf(users) : []
    return {
      plan,
      subscriptions: this.#subscriptions,
      readers: new Map(users.map((user, i) => [user, known[i] ?? { isKnown: false }])),
      access,
    }
  }

  /** Sends what is due: groups, and alerts that nobody has acknowledged. */
  #look(): void {
    this.#deliveries.look()
    const plan = this.#plans.current
    if (!plan || this.#isEscalating || this.#due.next(this.#outbox.state.escalations).length === 0) return
    this.#isEscalating = true
    void this.#escalate(plan)
      .catch(error => {
        if (!this.#deliveries.signal.aborted) this.#options.log.warn(`notify: ${describe(error)}`)
      })
      .finally(() => {
        this.#isEscalating = false
      })
  }

  async #escalate(plan: NotifyPlan): Promise<void> {
    const audience = await this.#audience(plan)
    const { escalations } = this.#outbox.state
    const now = this.#options.clock.now()
    const steps = this.#due.next(escalations).flatMap(key => {
      const escalation = escalations.get(key)
      return escalation ? [escalated(key, escalation, audience, now)] : []
    })
    await Promise.all(steps.map(step => this.#outbox.record(step, this.#deliveries.signal)))
    this.#deliveries.look()
  }
}
