import { say } from '../texts/language.js'
import { nameText } from '../wording.js'
import type { HomeDevice } from './catalogue.js'
import { useModel } from './context.js'
import { Icon } from './icons.js'

interface StarProperties {
  readonly device: HomeDevice
  readonly isFavourite: boolean
  /** Whether Tab goes there. */
  readonly isActive: boolean
}

/** Makes a device a favourite, which stands on top of Home. */
export function Star({ device, isFavourite, isActive }: StarProperties) {
  const model = useModel()
  if (model.isKiosk || model.isShared) return null
  return (
    <button
      type="button"
      class="star"
      aria-pressed={isFavourite}
      aria-label={say('star.label', { name: nameText(device.name) })}
      title={say(isFavourite ? 'star.remove' : 'star.add')}
      tabIndex={isActive ? 0 : -1}
      onClick={() => void model.toggleFavourite(device.id)}
    >
      <Icon name="star" size={17} />
    </button>
  )
}
