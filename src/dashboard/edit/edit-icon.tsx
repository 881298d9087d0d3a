const drawings = {
  drag: 'M9 6h.1M15 6h.1M9 12h.1M15 12h.1M9 18h.1M15 18h.1',
  earlier: 'm6 14 6-6 6 6',
  later: 'm6 10 6 6 6-6',
  change: 'M4 20l1-4.500L16 4.500l3.500 3.500L8.500 19ZM14 6.500l3.500 3.500',
  shown:
    'M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12ZM12 9.300a2.700 2.700 0 1 0 0 5.400 2.700 2.700 0 0 0 0-5.400Z',
  hidden:
    'M4 4l16 16M9.500 6C17 3.800 21.500 12 21.500 12s-1 2-3 3.800M6 8C3.600 9.800 2.500 12 2.500 12S6 18.500 12 18.500c1.200 0 2.300-.2 3.300-.7',
  undo: 'M9 5 4 10l5 5M4 10h10a5.500 5.500 0 0 1 0 11h-3',
  add: 'M12 5v14M5 12h14',
} as const

/** A line drawing of something to do while editing. */
export function EditIcon({ name, size = 20 }: { readonly name: keyof typeof drawings; readonly size?: number }) {
  return (
    <svg class="glyph" viewBox="0 0 24 24" width={size} height={size} aria-hidden="true">
      <path d={drawings[name]} />
    </svg>
  )
}
