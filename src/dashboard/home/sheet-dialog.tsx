import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { Icon } from './icons.js'

interface SheetDialogProperties {
  /** Id of the heading, which is in `head`. */
  readonly titleId: string
  /** Name of the button that closes. */
  readonly closeName: string
  readonly class?: string
  readonly level?: string
  /** Icon, heading and what else is beside the button that closes. */
  readonly head: ComponentChildren
  readonly children: ComponentChildren
  /** The sheet was closed: by the button, Escape, or a click beside. */
  readonly onClose: () => void
}

/** A sheet over the page, open as long as drawn. */
export function SheetDialog({ titleId, closeName, level, head, children, onClose, ...more }: SheetDialogProperties) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    dialog.current?.showModal()
  }, [])
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself; the click is one beside the sheet.
    <dialog
      ref={dialog}
      class={more.class ?? 'sheet'}
      aria-labelledby={titleId}
      data-level={level}
      onClose={onClose}
      onClick={event => event.target === dialog.current && dialog.current?.close()}
    >
      <div class="sheet-body">
        <div class="sheet-head">
          {head}
          <button type="button" class="icon" aria-label={closeName} onClick={() => dialog.current?.close()}>
            <Icon name="close" />
          </button>
        </div>
        {children}
      </div>
    </dialog>
  )
}
