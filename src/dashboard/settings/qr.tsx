import { encode } from 'uqr'

/** Cells that a reader needs around the code (ISO/IEC 18004). */
const quietCells = 4

/** A QR code of a text, dark on light in every colour scheme, as readers expect it. */
export function QrCode({ text, label }: { readonly text: string; readonly label: string }) {
  const { data, size } = encode(text, { ecc: 'M', border: quietCells })
  const dark = data.flatMap((row, y) => row.flatMap((isDark, x) => (isDark ? [`M${x} ${y}h1v1h-1z`] : [])))
  return (
    <svg class="set-qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} shape-rendering="crispEdges">
      <rect width={size} height={size} />
      <path d={dark.join('')} />
    </svg>
  )
}
