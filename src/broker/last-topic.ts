import type { Access } from '../access/rules.js'
import { encodeNames } from '../spool/message-codec.js'

/** The topic that a client published to last. Most devices publish to one topic: checks and encoding are done once. */
export class LastTopic {
  #permitted: string | undefined
  #permittedBy: Access | undefined
  #named = ''
  #names: Buffer | undefined

  /** Returns whether the client was permitted this topic last time, by the same rules. */
  isPermitted(topic: string, access: Access | undefined): boolean {
    return topic === this.#permitted && access === this.#permittedBy
  }

  permit(topic: string, access: Access | undefined): void {
    this.#permitted = topic
    this.#permittedBy = access
  }

  /** Returns the names of a publish, encoded once while the topic stays the same; undefined at the first publish. */
  names(clientId: string, user: string, topic: string): Buffer | undefined {
    if (topic !== this.#named) {
      this.#named = topic
      this.#names = undefined
    } else this.#names ??= encodeNames({ clientId, user, topic })
    return this.#names
  }
}
