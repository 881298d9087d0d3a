/** The sentences of what was done last, and of why something was not. */
export function Told({ note, trouble }: { readonly note: string; readonly trouble: string }) {
  return (
    <>
      <p class="set-note" role="status">
        {note}
      </p>
      <p class="set-trouble" role="alert">
        {trouble}
      </p>
    </>
  )
}
