import { useState } from 'preact/hooks'
import { endShare, fetchBoards, fetchShares } from '../api.js'
import { nameText } from '../wording.js'
import { momentText } from './moments.js'
import { useLoaded } from './use-loaded.js'
import { say } from './words.js'

const load = async () => {
  const [links, { boards }] = await Promise.all([fetchShares(), fetchBoards()])
  return { links, boards }
}

/** All links that share a board, each with a button that ends it. */
export function Shares() {
  const { value, trouble, again } = useLoaded(load)
  const [refusal, setRefusal] = useState('')
  const { links = [], boards } = value ?? {}
  const end = async (id: string) => {
    setRefusal('')
    try {
      await endShare(id)
    } catch (error) {
      setRefusal(say('failed', { why: (error as Error).message }))
    }
    again()
  }
  return (
    <>
      <p class="set-trouble" role="alert">
        {refusal || trouble}
      </p>
      {value && links.length === 0 ? <p class="hint">{say('shares.none')}</p> : null}
      <ul class="set-rules">
        {links.map(({ id, board, by, expires }) => {
          const name = nameText(boards?.[board]?.name || board)
          return (
            <li key={id}>
              <a href={`#${new URLSearchParams({ board })}`}>
                <bdi>{name}</bdi>
              </a>{' '}
              <span class="hint">
                {say('shares.until', { time: momentText(expires) })} <bdi>{nameText(by)}</bdi>
              </span>
              <button
                type="button"
                class="plain danger"
                aria-label={say('shares.end-label', { board: name })}
                onClick={() => void end(id)}
              >
                {say('shares.end')}
              </button>
            </li>
          )
        })}
      </ul>
    </>
  )
}
