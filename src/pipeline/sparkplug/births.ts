import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setAside } from '../../disk/damaged.js'
import { readWholeSync } from '../../disk/files.js'
import { replaceFile } from '../../disk/replace-file.js'
import { describe } from '../../errors.js'
import type { IncidentReporter } from '../../observe/incidents.js'
import type { SentenceLog } from '../../observe/log.js'
import { SerialQueue } from '../../runtime/serial-queue.js'
import type { SparkplugTopic } from './topic.js'

/** A metric as a birth defines it. */
export interface MetricDefinition {
  readonly name: string
  readonly alias?: number
  readonly dataType?: number
  readonly unit?: string
}

/** A birth of an edge node or a device, which counts from its receipt until the next one. */
export interface Birth {
  /** Microseconds since the epoch. */
  readonly receivedAt: number
  /** Number of the edge node's MQTT session, which its death names as well. */
  readonly bdSeq?: number
  readonly definitions: MetricDefinitions
}

/** The metrics of a birth. Births that tell the same share them. */
export class MetricDefinitions {
  readonly all: readonly MetricDefinition[]
  readonly byName: ReadonlyMap<string, MetricDefinition>
  readonly byAlias: ReadonlyMap<number, MetricDefinition>

  constructor(all: readonly MetricDefinition[]) {
    this.all = all
    this.byName = new Map(all.map(one => [one.name, one]))
    this.byAlias = new Map(all.flatMap(one => (one.alias === undefined ? [] : [[one.alias, one] as const])))
  }

  isSame(others: readonly MetricDefinition[]): boolean {
    return (
      others.length === this.all.length &&
      others.every((other, i) => {
        const { name, alias, dataType, unit } = this.all[i] as MetricDefinition
        return other.name === name && other.alias === alias && other.dataType === dataType && other.unit === unit
      })
    )
  }
}

export interface BirthsOptions {
  /** Folder of the files. Without, births are forgotten when the process ends. */
  readonly dir?: string
  readonly log: Pick<SentenceLog, 'warn'>
  /** Told of damaged files. Without, the log is. */
  readonly incidents?: IncidentReporter | undefined
}

/** Births of one edge node or device that are remembered, for data that were received before the newest. */
const maxKept = 4
/** Most edge nodes and devices. */
const maxMembers = 20_000
/** Most definitions of all members together. */
const maxDefinitions = 2e6

interface Member {
  readonly node: string
  readonly device: string | undefined
  /** Ascending by time of receipt. */
  readonly births: readonly Birth[]
}

/**
 * The births of Sparkplug edge nodes and devices, kept on disk: one file for each. Data name their metrics by the
 * aliases of a birth, which may have been received long before, or will be later.
 */
export class Births {
  readonly #options: BirthsOptions
  /** By node and device; the one heard of last is the last. */
  readonly #members = new Map<string, Member>()
  readonly #dirty = new Set<Member>()
  #definitions = 0
  readonly #writing = new SerialQueue()

  constructor(options: BirthsOptions) {
    this.#options = options
  }

  /**
   * Reads what is on disk. A damaged file is set aside: its edge node is asked for another birth. A disk that
   * refuses is no reason not to start.
   */
  start(): void {
    const { dir, log } = this.#options
    if (dir === undefined || !existsSync(dir)) return
    try {
      for (const name of readdirSync(dir).filter(name => name.endsWith('.json'))) this.#read(join(dir, name))
    } catch (error) {
      log.warn(`sparkplug: births in ${dir} cannot be read: ${describe(error)}`)
    }
  }

  #read(path: string): void {
    const text = readWholeSync(path)?.toString() ?? ''
    try {
      this.#add(parseMember(JSON.parse(text) as unknown))
    } catch (error) {
      const { incidents, log } = this.#options
      const sentence = `${path} cannot be read (${describe(error)}); its edge node is asked for another birth; ${setAside(path)}`
      if (incidents) incidents.report('births_damaged', sentence)
      else log.warn(`sparkplug: ${sentence}`)
    }
  }

  /** Takes a birth. Told twice, a birth is taken once. Returns whether the birth is new. */
  learn(topic: SparkplugTopic, receivedAt: number, definitions: readonly MetricDefinition[], bdSeq?: number): boolean {
    const key = keyOf(topic)
    const known = this.#members.get(key)
    const births = known?.births ?? []
    if (births.some(birth => birth.receivedAt === receivedAt)) return false
    if (births.length === maxKept && receivedAt < (births[0] as Birth).receivedAt) return false
    const same = births.find(birth => birth.definitions.isSame(definitions))?.definitions
    const birth = {
      receivedAt,
      definitions: same ?? new MetricDefinitions(definitions),
      ...(bdSeq !== undefined && { bdSeq }),
    }
    const all = [...births, birth].sort((a, b) => a.receivedAt - b.receivedAt).slice(-maxKept)
    this.#remove(key)
    const member = { node: topic.node, device: topic.device, births: all }
    if (known) this.#dirty.delete(known)
    this.#dirty.add(member)
    this.#add(member)
    return true
  }

  /** Returns the birth that counts for a message; failing that, the first one afterwards. */
  find({ node, device }: Pick<SparkplugTopic, 'node' | 'device'>, receivedAt: number): Birth | undefined {
    const ofNode = this.#find(node, undefined, receivedAt)
    if (device === undefined) return ofNode
    // With a birth of the edge node, everything that its devices told before is over.
    const from = ofNode && ofNode.receivedAt <= receivedAt ? ofNode.receivedAt : -Infinity
    return this.#find(node, device, receivedAt, from)
  }

  #find(node: string, device: string | undefined, receivedAt: number, from = -Infinity): Birth | undefined {
    const births = this.#members.get(keyOf({ node, device }))?.births.filter(birth => birth.receivedAt >= from)
    return births?.findLast(birth => birth.receivedAt <= receivedAt) ?? births?.[0]
  }

  /** Resolves when all births are on disk. A disk that refuses is tried again with the next call. */
  flush(): Promise<void> {
    return this.#dirty.size > 0 ? this.#writing.run(() => this.#write()) : this.#writing.idle()
  }

  async #write(): Promise<void> {
    const { dir, log } = this.#options
    for (const member of this.#dirty) {
      this.#dirty.delete(member)
      if (dir === undefined) continue
      try {
        mkdirSync(dir, { recursive: true, mode: 0o700 })
        await replaceFile(pathOf(dir, member), JSON.stringify(member, ['node', 'device', 'births', ...birthFields]))
      } catch (error) {
        this.#dirty.add(member)
        log.warn(`sparkplug: births are not kept on disk: ${describe(error)}`)
        return
      }
    }
  }

  #add(member: Member): void {
    this.#members.set(keyOf(member), member)
    this.#definitions += sizeOf(member)
    for (const [oldest, one] of this.#members) {
      if (this.#members.size <= maxMembers && this.#definitions <= maxDefinitions) break
      if (one === member) break
      this.#remove(oldest)
      this.#dirty.delete(one)
      if (this.#options.dir !== undefined) rmSync(pathOf(this.#options.dir, one), { force: true })
    }
  }

  #remove(key: string): void {
    const member = this.#members.get(key)
    if (!member) return
    this.#members.delete(key)
    this.#definitions -= sizeOf(member)
  }
}

const birthFields = ['receivedAt', 'bdSeq', 'definitions', 'all', 'name', 'alias', 'dataType', 'unit']

function keyOf({ node, device }: Pick<SparkplugTopic, 'node' | 'device'>): string {
  return device === undefined ? node : `${node}/${device}`
}

function sizeOf({ births }: Member): number {
  const different = new Set(births.map(({ definitions }) => definitions))
  return [...different].reduce((sum, { all }) => sum + all.length, 1)
}

function pathOf(dir: string, member: Member): string {
  return join(dir, `${createHash('sha256').update(keyOf(member)).digest('hex').slice(0, 40)}.json`)
}

function parseMember(parsed: unknown): Member {
  const { node, device, births } = parsed as Record<string, unknown>
  if (typeof node !== 'string' || !Array.isArray(births) || births.length === 0)
    throw new Error('not the births of a node')
  if (device !== undefined && typeof device !== 'string') throw new Error('a device without a name')
  let last = new MetricDefinitions([])
  return {
    node,
    device,
    births: births.map(({ receivedAt, bdSeq, definitions }: Birth) => {
      if (typeof receivedAt !== 'number' || !Array.isArray(definitions.all)) throw new Error('a birth without metrics')
      if (!last.isSame(definitions.all)) last = new MetricDefinitions(definitions.all)
      return { receivedAt, definitions: last, ...(bdSeq !== undefined && { bdSeq }) }
    }),
  }
}
