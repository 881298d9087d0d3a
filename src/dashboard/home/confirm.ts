import { confirmed } from '../confirm.js'
import { say } from '../texts/language.js'
import { nameText } from '../wording.js'

/** Asks before a dangerous command. Resolves with whether to go on. */
export function ask(action: string, device: string): Promise<boolean> {
  return confirmed(say('control.ask', { action }), say('control.ask-text', { name: nameText(device) }), {
    yes: say('control.confirm', { action }),
    no: say('control.cancel'),
  })
}
