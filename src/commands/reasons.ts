import type { Said } from '../model.js'

/** Why a command is as it is, by a code, in words for programs and operators. */
export const reasons = {
  unconfirmed: 'the device subscribes with QoS 0, so it acknowledges nothing',
  'no-service': 'no service took it in time',
  'no-answer': 'no service has answered in time',
  'not-answered': 'the device has not answered in time',
  'not-there': 'the device was not there in time',
  'not-acknowledged': 'the device has not acknowledged it in time, and may have it',
  'device-failed': 'the device says that it failed',
  'device-refused': 'the device has refused the command',
  'too-large': 'the command is larger than the device takes',
} as const

const codes = new Map<string, string>(Object.entries(reasons).map(([code, text]) => [text, code]))

/** Returns the code of a reason, for pages in other languages. Undefined when it has none. */
export function saidReason(reason: string | undefined): Said | undefined {
  const code = reason === undefined ? undefined : codes.get(reason)
  return code === undefined ? undefined : { code, values: {} }
}
