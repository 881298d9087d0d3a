import type { SentenceLog } from '../observe/log.js'
import { type TargetBook, targetOf } from './deliveries.js'
import { EmailTarget } from './email.js'
import { HostSlots } from './host-slots.js'
import type { HubKeys } from './hub-keys.js'
import { MqttTarget, type NotifyPublisher } from './mqtt.js'
import type { NotifyPlan, TargetPlan } from './plan.js'
import type { Subscriptions } from './subscriptions.js'
import type { NotifyTarget } from './target.js'
import { WebPushTarget } from './web-push.js'
import { type ValuesMaker, WebhookTarget } from './webhook.js'

/** Current plan; undefined while there is none. */
interface CurrentPlan {
  readonly current: NotifyPlan | undefined
}

/** Part that the targets belong to. */
export interface TargetsHost extends ValuesMaker {
  readonly keys: HubKeys
  /** Removes what waits for an address. */
  closed(address: string): Promise<void>
}

export interface TargetsOptions {
  readonly plans: CurrentPlan
  readonly subscriptions: Subscriptions
  readonly publisher: NotifyPublisher
  readonly host: TargetsHost
  readonly log: SentenceLog
}

/** The targets of the plan in effect, made when first used. */
export class Targets implements TargetBook {
  readonly #options: TargetsOptions
  readonly #slots = new HostSlots()
  #made = new Map<TargetPlan, NotifyTarget>()
  #of: NotifyPlan | undefined

  constructor(options: TargetsOptions) {
    this.#options = options
  }

  targetOf(address: string): NotifyTarget | undefined {
    const plan = this.#options.plans.current
    if (plan !== this.#of) {
      this.#of = plan
      this.#made = new Map()
    }
    const target = plan?.targets.get(targetOf(address))
    if (!plan || !target || !this.#isFor(target, address)) return undefined
    const made = this.#made.get(target) ?? this.#make(target, plan)
    this.#made.set(target, made)
    return made
  }

  rateOf(address: string): number {
    return this.#options.plans.current?.targets.get(targetOf(address))?.rate ?? 1
  }

  get secrets(): readonly string[] {
    const endpoints = this.#options.subscriptions.of().map(({ endpoint }) => endpoint)
    return [...(this.#options.plans.current?.secrets ?? []), ...endpoints]
  }

  /** Returns the addresses of a target: the target, or its browsers. */
  addressesOf(name: string): readonly string[] {
    const target = this.#options.plans.current?.targets.get(name)
    if (target?.type !== 'web-push') return target ? [name] : []
    return this.#options.subscriptions
      .of(target.users.length > 0 ? target.users : undefined)
      .map(({ id }) => `${name}/${id}`)
  }

  get isKnown(): boolean {
    return this.#options.plans.current !== undefined
  }

  async gone(address: string, endsSubscription: boolean): Promise<void> {
    const { subscriptions, host, log } = this.#options
    const ended = endsSubscription ? await subscriptions.remove(address.split('/')[1] ?? '') : undefined
    const whose = ended ? `the subscription of a browser of ${ended.user}` : `target ${targetOf(address)}`
    log.info(`notify: ${whose} is no more; what waited for it is dropped`)
    await host.closed(address)
  }

  /** Whether an address still belongs to a target: the user of a browser may no longer be named. */
  #isFor(target: TargetPlan, address: string): boolean {
    const id = address.split('/')[1]
    if (target.type !== 'web-push') return id === undefined
    const user = this.#options.subscriptions.get(id ?? '')?.user
    return user !== undefined && (target.users.length === 0 || target.users.includes(user))
  }

  #make(plan: TargetPlan, { zone, url, contact }: NotifyPlan): NotifyTarget {
    const { host, publisher, subscriptions } = this.#options
    switch (plan.type) {
      case 'email':
        return new EmailTarget({ plan, zone, url })
      case 'webhook':
        return new WebhookTarget(plan, host)
      case 'mqtt':
        return new MqttTarget(plan, host, publisher)
      case 'web-push':
        return new WebPushTarget({
          plan,
          keys: host.keys,
          contact,
          zone,
          subscriptions,
          values: host,
          slots: this.#slots,
        })
    }
  }
}
