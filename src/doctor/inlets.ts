import { randomUUID } from 'node:crypto'
import { environmentValue } from '../config/config.js'
import { describe } from '../errors.js'
import { readInlets } from '../inlets/plan.js'
import { withoutSecrets } from '../runtime/secrets.js'
import { type Check, fine, problem } from './finding.js'

/** Checks whether the brokers of the inlets answer and let the hub in, with a client id and a session of the doctor's own. */
export const inlets: Check = async ({ settings }) => {
  const { inlets, faults } = readInlets(settings.inlets, environmentValue)
  // Mistakes are another check's to say.
  if (inlets.length === 0 || faults.length > 0) return []
  const { RemotePublisher } = await import('../remote/remote-broker.js')
  return Promise.all(
    inlets.map(async ({ name, shown, address }) => {
      const check = `inlet ${name}`
      try {
        const there = await RemotePublisher.connect({
          ...address,
          clientId: `telehub-doctor-${randomUUID().slice(0, 8)}`,
        })
        await there.close()
        return fine(check, `${shown} answers, and lets the hub in`)
      } catch (error) {
        const { password } = new URL(address.url)
        const why = withoutSecrets(describe(error), [password, decodeURIComponent(password)].filter(Boolean))
        return problem(
          check,
          `${shown} does not let the hub in: ${why}`,
          'Start that broker, or fix url, user and files of this inlet; meanwhile that broker keeps the messages, if the session is there.',
        )
      }
    }),
  )
}
