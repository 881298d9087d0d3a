import { element } from '../nodes.js'
import { Board } from './board.js'
import { say } from './words.js'

/** Makes the wall of all values, and writes the texts of its page. */
export function startWall(): Board {
  const texts: readonly (readonly [selector: string, text: string])[] = [
    ['#board > h1', say('wall.title')],
    ['#empty h2', say('empty.title')],
    ['#empty > p:not(.hint)', say('empty.text')],
    ['#empty .hint', say('empty.hint')],
    ['#presence-title', say('devices.title')],
  ]
  for (const [selector, text] of texts) {
    const found = document.querySelector(selector)
    if (found) found.textContent = text
  }
  return new Board(element('groups'), element('matches'), element<HTMLTemplateElement>('tile-template'))
}
