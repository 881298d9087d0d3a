import type { CommandRow } from '../contract/contract.js'
import { hubTopics } from '../topics.js'
import type { CommandAnswer, DeviceCommand } from './command.js'
import { saidReason } from './reasons.js'

/** Longest payload shown. */
const shownBytes = 4_096

const decoder = new TextDecoder('utf-8', { fatal: true })

/**
 * Returns a command as the API and `$hub/commands/{id}` show it: times in milliseconds since the epoch. The answer is
 * left out when it came on a topic that the reader may not read.
 */
export function commandRow(command: DeviceCommand, mayRead: (topic: string) => boolean = () => true): CommandRow {
  const { payload, answer, askedAt, expiresAt, sentAt, deliveredAt, overAt, isOver, client, isRepeated, ...more } =
    command
  const ms = (time: number | undefined) => (time === undefined ? undefined : Math.floor(time / 1_000))
  return {
    ...more,
    client,
    said: saidReason(more.reason),
    ...textOf(payload.subarray(0, shownBytes)),
    over: isOver,
    askedAt: Math.floor(askedAt / 1_000),
    expiresAt: Math.floor(expiresAt / 1_000),
    sentAt: ms(sentAt),
    deliveredAt: ms(deliveredAt),
    overAt: ms(overAt),
    answer: answer && answerRow(command, answer, mayRead),
  }
}

function answerRow(
  { id, topic: asked }: DeviceCommand,
  { payload, topic, isGood, isCut }: CommandAnswer,
  mayRead: (topic: string) => boolean,
) {
  const isToCommand = topic === asked || topic === hubTopics.commandAnswer(id)
  const isShown = isToCommand || mayRead(topic)
  return { ...textOf(isShown ? payload : nothing), topic, good: isGood, cut: isCut || !isShown }
}

const nothing = Buffer.alloc(0)

/** Returns bytes as text; as base64 when they are none. */
export function textOf(bytes: Buffer): { readonly payload: string; readonly encoding: 'text' | 'base64' } {
  try {
    return { payload: decoder.decode(bytes), encoding: 'text' }
  } catch {
    return { payload: bytes.toString('base64'), encoding: 'base64' }
  }
}
