import { Icon, iconNames } from '../home/icons.js'
import type { Outcome } from './editor.js'
import { useWanted } from './wanted.js'
import { say } from './words.js'

interface IconProperties {
  /** Undefined: that of the class of the device. */
  readonly value: string | undefined
  readonly own: string
  readonly save: (icon: string | undefined) => Promise<Outcome>
}

/** The icons to choose from, as radio buttons that arrow keys go through. */
export function IconChoice({ value, own, save }: IconProperties) {
  const [chosen, choose] = useWanted(value ?? own, icon => save(icon === own ? undefined : icon))
  return (
    <fieldset class="icon-choice">
      <legend class="field-label">{say('icon')}</legend>
      {iconNames.map(name => (
        <label key={name} title={say(`icon.${name}`)}>
          <input type="radio" name="icon" checked={chosen === name} onChange={() => choose(name)} />
          <Icon name={name} size={22} />
          <span class="unseen">{say(`icon.${name}`)}</span>
        </label>
      ))}
    </fieldset>
  )
}
