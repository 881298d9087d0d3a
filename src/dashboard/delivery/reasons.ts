import { element, Keyed, make, put, reasonLabel } from '../nodes.js'
import { countText } from '../wording.js'

interface ReasonRow {
  readonly reason: string
  readonly count: number
  readonly most: number
}

/** The counts by reason, the largest first. */
export class Reasons {
  readonly #head = make('h3')
  readonly #rows: Keyed<ReasonRow, HTMLElement>
  readonly #title: string
  readonly #none: string

  constructor(kind: 'dead' | 'refused', title: string, none: string) {
    this.#title = title
    this.#none = none
    const list = make('ul', 'reasons')
    list.dataset.kind = kind
    element('reasons').append(this.#head, list)
    this.#rows = new Keyed(
      list,
      row => row.reason,
      row => {
        const item = make('li', '', reasonLabel(row.reason), make('span', 'reason-count'), make('i', 'reason-bar'))
        item.dataset.reason = row.reason
        return item
      },
      (item, { count, most }) => {
        put(item.children[1] as Element, countText(count))
        const bar = item.children[2] as HTMLElement
        bar.style.width = `${Math.max(1, (count / most) * 100)}%`
      },
    )
  }

  show(counts: Readonly<Record<string, number>>): void {
    const rows = Object.entries(counts).filter(([, count]) => count > 0)
    rows.sort((a, b) => b[1] - a[1])
    const most = rows[0]?.[1] ?? 0
    this.#rows.show(rows.map(([reason, count]) => ({ reason, count, most })))
    put(this.#head, rows.length > 0 ? this.#title : this.#none)
    this.#head.dataset.empty = String(rows.length === 0)
  }
}
