import type { MappingRule } from '../../../src/config/settings.js'
import type { Answer } from '../../../src/contract/contract.js'
import type { Message } from '../../../src/model.js'
import { ReadingJson } from '../../../src/pipeline/feeds/reading-json.js'
import { Home, type HomeQuery } from '../../../src/pipeline/home/home.js'
import { LivePusher, type Push } from '../../../src/pipeline/live-pusher.js'
import { Mapping } from '../../../src/pipeline/mapping.js'
import { Registry } from '../../../src/pipeline/registry.js'

export type CatalogueAnswer = Answer<'GET /api/home'>

const json = { depth: 16, fields: 1_000, inflated: 1_000_000 }

/** The catalogue over what a list of messages makes, without a hub around it. */
export class MadeHome {
  readonly mapping: Mapping
  readonly registry = new Registry('/nonexistent/registry.json')
  readonly live: LivePusher
  readonly home: Home
  readonly pushes: Push[] = []
  #sequence = 0
  /** Microseconds. */
  now = Date.now() * 1_000

  constructor(rules: readonly MappingRule[] = []) {
    this.mapping = new Mapping(rules, json)
    const store = { fieldOf: ({ field }: { readonly field: string }) => field }
    const broker = {
      report: () => {},
      info: () => {},
      warn: () => {},
      push: async (pushes: readonly Push[]) => {
        this.pushes.push(...pushes)
      },
    }
    const { mapping, registry } = this
    this.live = new LivePusher({ mapping, registry, json: new ReadingJson(mapping, store), delivery: broker })
    this.home = new Home({
      ...{ mapping, registry, store, live: this.live, broker, dir: '/nonexistent', settings: { 'presets.off': [] } },
      alerts: { desk: { list: () => ({ alerts: [] }) } },
    })
  }

  message(topic: string, payload: unknown, { client = 'c', user = '', retain = false } = {}): Message {
    this.now += 1_000
    return {
      sequence: ++this.#sequence,
      receivedAt: this.now,
      topic,
      payload: Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)),
      qos: 1,
      retain,
      clientId: client,
      user,
      packetId: 0,
    }
  }

  async send(topic: string, payload: unknown, more = {}): Promise<Message> {
    const message = this.message(topic, payload, more)
    this.registry.setPresence({ clientId: message.clientId, user: message.user, online: true, since: this.now })
    await this.live.handle([message])
    return message
  }

  async ask(query: Partial<HomeQuery> = {}): Promise<CatalogueAnswer> {
    const full = { values: 'all', limit: 1_000, rules: undefined, publish: undefined, ...query } as const
    return JSON.parse(Buffer.from(await this.home.answer(full)).toString()) as CatalogueAnswer
  }
}

/** A catalogue in a few words, for comparison: area, name, class, main values, controls. */
export function inWords({ devices }: CatalogueAnswer): readonly string[] {
  return devices.map(({ area, name, class: kind, values, controls, online }) => {
    const main = values
      .filter(({ main }) => main)
      .map(({ name, part, unit }) => `${part ? `${part} ` : ''}${name}${unit ? ` ${unit}` : ''}`)
    const state = online === undefined ? '' : online ? ' online' : ' offline'
    const means = controls.map(({ name, kind, dangerous }) => `${name}:${kind}${dangerous ? '!' : ''}`)
    return `${area ? `${area}/` : ''}${name} (${kind}${state}): ${main.join(', ')}${means.length > 0 ? ` | ${means.join(', ')}` : ''}`
  })
}
