import { say, sayCount } from '../texts/language.js'
import { BoardLinks } from './board-links.js'
import { useModel } from './context.js'
import { Icon } from './icons.js'
import { densities } from './layout.js'

/** How the devices are shown, and which. */
export function Toolbar({ shown, all }: { readonly shown: number; readonly all: number }) {
  const model = useModel()
  return (
    <div class="home-tools">
      <BoardLinks />
      <p class="home-count" role="status">
        {shown === all ? sayCount('devices', all) : sayCount('home.shown', shown, { all })}
      </p>
      <label class="toggle">
        <input
          type="checkbox"
          checked={model.onlyWrong}
          onChange={event => model.set({ onlyWrong: event.currentTarget.checked })}
        />
        {say('home.only-wrong')}
      </label>
      <fieldset class="segments" aria-label={say('home.density')}>
        {densities.map(density => (
          <button
            key={density}
            type="button"
            aria-pressed={model.density === density}
            aria-label={say(`home.${density}`)}
            title={say(`home.${density}`)}
            onClick={() => model.set({ density })}
          >
            <Icon name={density} size={18} />
          </button>
        ))}
      </fieldset>
      {model.mayChange && (model.board === undefined || model.shownBoard) ? (
        <button type="button" class="plain" onClick={() => model.set({ isEditing: true })}>
          <Icon name="edit" size={16} />
          {say(model.board === undefined ? 'home.edit' : 'boards.edit')}
        </button>
      ) : null}
    </div>
  )
}
