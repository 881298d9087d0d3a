import type { SessionRecorder } from './session-recorder.js'
import { isJournalled, type Published, type SessionState } from './session-state.js'
import type { SessionsOptions } from './sessions-options.js'

/** Retains messages within the limits, and records that in the journal. */
export class RetainedKeeper {
  readonly #state: SessionState
  readonly #recorder: SessionRecorder
  readonly #options: Pick<SessionsOptions, 'retained' | 'dropped'>

  constructor(state: SessionState, recorder: SessionRecorder, options: Pick<SessionsOptions, 'retained' | 'dropped'>) {
    this.#state = state
    this.#recorder = recorder
    this.#options = options
  }

  /** Retains a message published as retained; an empty one clears. Returns whether the message is retained now. */
  retain(message: Published): boolean {
    const { topic, payload, clientId } = message
    const { retained, dropped } = this.#options
    const all = this.#state.retainedOf(topic)
    if (payload.length === 0) {
      if (!all.delete(topic)) return false
    } else {
      const isNew = all === this.#state.retained && all.get(topic) === undefined
      if (isNew && !all.admits(message, retained.messages, retained.bytes)) {
        dropped('retained', clientId)
        return false
      }
      all.set(message, all === this.#state.own)
    }
    if (isJournalled(topic)) this.#recorder.record({ t: 'ret', p: message }, payload)
    return payload.length > 0
  }
}
