import type { Message, Publish } from '../../src/model.js'
import { encodeProperties } from '../../src/properties.js'
import { Cursors, type CursorsOptions } from '../../src/queue/cursors.js'
import { Spool, type SpoolOptions } from '../../src/queue/spool.js'

/** A message and its neighbours, for tests of the spool. */
export const publish = (n: number, payload = `payload ${n}`): Publish => ({
  topic: `t/${n}`,
  payload: Buffer.from(payload),
  qos: 1,
  retain: n % 2 === 0,
  clientId: 'device-ü',
  user: 'someone',
  packetId: n,
})

/** The same with what MQTT 5 adds. */
export const extended = (n: number, payload?: string): Publish => ({
  ...publish(n, payload),
  ...(n % 3 !== 0 && {
    properties: encodeProperties({ contentType: 'text/ä', userProperties: [['n', String(n)]] }) as Buffer,
  }),
  ...(n % 3 !== 1 && { expiresAt: 1_763_710_000_000_000 + n }),
})

/** A started spool, and what it warned of. */
export async function openSpool(dir: string, more: Partial<SpoolOptions> = {}) {
  const warnings: string[] = []
  const spool = new Spool({
    dir,
    segmentBytes: 1e6,
    limitBytes: 1e9,
    fsync: 'group',
    settled: () => {},
    now: () => 1_000_000,
    committed: () => {},
    warn: sentence => warnings.push(sentence),
    incidents: { report: (_kind, sentence) => warnings.push(sentence) },
    ...more,
  })
  await spool.start()
  return { spool, warnings }
}

/** Resolves with the sequence number when it is on disk. */
export const append = (spool: Spool, message: Publish) =>
  new Promise<number>((resolve, reject) =>
    spool.append(message, (_, error, sequence) => (error ? reject(error) : resolve(sequence))),
  )

export interface Skipped {
  readonly group: string
  readonly from: number
  readonly to: number
  readonly damaged: boolean
}

/** The started reading side, what it warned of and what it skipped. */
export function openCursors(dir: string, spool: Spool, more: Partial<CursorsOptions> = {}) {
  const warnings: string[] = []
  const skipped: Skipped[] = []
  const cursors = new Cursors({
    dir,
    groups: ['live'],
    inherit: {},
    position: spool.position,
    freed: bytes => spool.freed(bytes),
    warn: sentence => warnings.push(sentence),
    incidents: { report: (_kind, sentence) => warnings.push(sentence) },
    skipped: (group, from, to, damaged) => void skipped.push({ group, from, to, damaged }),
    ...more,
  })
  cursors.start()
  return { cursors, warnings, skipped }
}

const never = new AbortController().signal

/** Reads and settles all that a group has left. */
export async function drain(cursors: Cursors, group: string, limit = 1_000): Promise<Message[]> {
  const messages: Message[] = []
  while (cursors.depth(group) > 0) {
    const end = new AbortController()
    // All that is left may be a gap, and then there is nothing to wait for.
    const caughtUp = setInterval(() => cursors.depth(group) === 0 && end.abort(), 5)
    const delivery = await cursors.reader(group).next(limit, end.signal)
    clearInterval(caughtUp)
    messages.push(...(delivery?.messages ?? []))
    delivery?.settle()
  }
  return messages
}

/** What a group has left, by a reading side of its own. */
export async function readAll(dir: string, spool: Spool, group = 'live', limit = 1_000) {
  const { cursors, skipped, warnings } = openCursors(dir, spool, { groups: [group] })
  const messages = await drain(cursors, group, limit)
  await cursors.stop()
  return { messages, topics: messages.map(({ topic }) => topic), skipped, warnings }
}

export { never }
