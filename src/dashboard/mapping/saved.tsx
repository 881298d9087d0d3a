import { countText } from '../wording.js'
import { placeText, useMapping } from './context.js'
import { mostCounted } from './requests.js'
import { say, sayCount } from './words.js'

/** The rule is saved: the messages that were not stored can be stored now, and the change can be taken back. */
export function Saved() {
  const model = useMapping()
  const { saved, waiting, job, isBusy } = model
  if (!saved) return null
  return (
    <section class="saved card" aria-labelledby="map-saved">
      <h3 id="map-saved">
        <span role="status">{say('saved', { place: placeText(saved) })}</span>
      </h3>
      {job ? (
        <p role="status" class="saved-job">
          {job.finished
            ? say(job.kept > 0 ? 'replay.done-kept' : 'replay.done', {
                done: countText(job.done),
                stored: countText(job.stored),
                kept: countText(job.kept),
              })
            : say('replay.running', { done: countText(job.done) })}
        </p>
      ) : waiting === undefined ? null : waiting === 0 ? (
        <p class="hint">{say('replay.none')}</p>
      ) : (
        <p>
          {waiting >= mostCounted ? say('replay.many', { count: countText(waiting) }) : sayCount('replay', waiting)}
        </p>
      )}
      <div class="saved-acts">
        {!job && waiting !== undefined && waiting > 0 ? (
          <button type="button" class="plain strong" disabled={isBusy} onClick={() => void model.replay()}>
            {say('replay.now')}
          </button>
        ) : null}
        {job?.finished && job.kept > 0 ? (
          <a class="plain" href="#balance">
            {say('replay.look')}
          </a>
        ) : null}
        <button type="button" class="plain" disabled={isBusy} onClick={() => void model.undo()}>
          {say('undo')}
        </button>
        <a class="plain" href="#explore&rules">
          {say('rules.title')}
        </a>
      </div>
    </section>
  )
}
