import { useWanted } from './wanted.js'

interface CheckProperties {
  readonly checked: boolean
  readonly text: string
  /** Left out: the text. */
  readonly label?: string
  readonly disabled?: boolean
  readonly save: (checked: boolean) => Promise<unknown>
}

/** A box to tick, saved at once. */
export function Check({ checked, text, label, disabled = false, save }: CheckProperties) {
  const [isChecked, choose] = useWanted(checked, save)
  return (
    <label class="toggle">
      <input
        type="checkbox"
        checked={isChecked}
        disabled={disabled}
        aria-label={label}
        onChange={event => choose(event.currentTarget.checked)}
      />
      <bdi>{text}</bdi>
    </label>
  )
}
