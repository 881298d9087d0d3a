/** A place to drop at: before or after the element of a key. */
export interface DropPlace {
  readonly key: string
  readonly isAfter: boolean
}

interface DragTask {
  /** Selector of the elements to drop at, which have their key in `data-drop-key`. */
  readonly targets: string
  /** Whether the targets stand beside each other, so that left is before. */
  readonly isAcross: boolean
  /** Element that is dragged. */
  readonly source: HTMLElement
  dropped(place: DropPlace): void
}

/** Distance from the edge of the window, in pixels, at which the page scrolls, and how far with each move. */
const edge = 70
const step = 12

/**
 * Follows a pointer that went down on a handle, shows where the dragged element would go, and drops there. Escape, or a
 * pointer that is lost, ends the drag without a drop.
 */
export function startDrag(down: PointerEvent, handle: HTMLElement, task: DragTask): void {
  if (down.button !== 0) return
  down.preventDefault()
  handle.setPointerCapture(down.pointerId)
  const { source, targets, isAcross } = task
  source.dataset.dragged = 'true'
  let over: { readonly element: HTMLElement; readonly isAfter: boolean } | undefined
  let scrolling = 0
  let frame = 0
  const unmark = () => {
    if (over) delete over.element.dataset.drop
    over = undefined
  }
  const look = (x: number, y: number) => {
    scrolling = y < edge ? -step : y > innerHeight - edge ? step : 0
    if (scrolling !== 0 && frame === 0) frame = requestAnimationFrame(scroll)
    const element = document.elementFromPoint(x, y)?.closest<HTMLElement>(targets)
    unmark()
    if (!element || element === source) return
    const box = element.getBoundingClientRect()
    const isAfter = isAcross ? x > box.left + box.width / 2 : y > box.top + box.height / 2
    over = { element, isAfter }
    element.dataset.drop = isAfter ? 'after' : 'before'
  }
  const scroll = () => {
    frame = 0
    if (scrolling === 0) return
    scrollBy(0, scrolling)
    frame = requestAnimationFrame(scroll)
  }
  const move = (event: PointerEvent) => look(event.clientX, event.clientY)
  const end = (place?: DropPlace) => {
    scrolling = 0
    unmark()
    delete source.dataset.dragged
    handle.removeEventListener('pointermove', move)
    handle.removeEventListener('pointerup', up)
    handle.removeEventListener('pointercancel', cancel)
    removeEventListener('keydown', key, true)
    if (place) task.dropped(place)
  }
  const up = () => {
    const key = over?.element.dataset.dropKey
    end(over && key !== undefined ? { key, isAfter: over.isAfter } : undefined)
  }
  const cancel = () => end()
  const key = (event: KeyboardEvent) => {
    if (event.key !== 'Escape') return
    event.stopPropagation()
    event.preventDefault()
    end()
  }
  handle.addEventListener('pointermove', move)
  handle.addEventListener('pointerup', up)
  handle.addEventListener('pointercancel', cancel)
  addEventListener('keydown', key, true)
}
