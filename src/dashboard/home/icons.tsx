/** Icons of devices and of the page, drawn with lines on a field of 24 by 24. */

/** Icons to choose from, for devices. */
const deviceDrawings = {
  light: 'M9 18h6M10 21h4M12 3a6 6 0 0 0-3.8 10.6c.8.7 1.3 1.5 1.3 2.4h5c0-.9.5-1.7 1.3-2.4A6 6 0 0 0 12 3Z',
  switch: 'M7 3h10a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H7a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2ZM10 7h4v10h-4zM10 12h4',
  plug: 'M9 3v5M15 3v5M6.5 8h11v3a5.5 5.5 0 0 1-11 0ZM12 16.500V21',
  thermometer: 'M10 13.500V5.500a2 2 0 0 1 4 0v8a4 4 0 1 1-4 0ZM12 10v7',
  thermostat: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM12 12l3.5-3.500M7 12h.1M12 7v.1M17 12h.1',
  motion: 'M13 5.200a1.7 1.7 0 1 0 0-.1ZM8 21l2.5-5.500L9 12l1-4 4 1 1.5 3H18M13.5 13.5 15 16v5M6 11l1.5-2.500L10 8',
  door: 'M6 21V4.500A1.5 1.5 0 0 1 7.5 3h9A1.5 1.5 0 0 1 18 4.500V21M3.5 21h17M14.5 12v.1',
  cover: 'M4 4h16M5.5 4v13M18.5 4v13M5.5 8h13M5.5 12h13M5.5 16h13M12 16v4',
  lock: 'M6 11h12v9H6zM8.5 11V7.500a3.5 3.5 0 0 1 7 0V11M12 15v2',
  leak: 'M12 3.500S6 10 6 14.500a6 6 0 0 0 12 0C18 10 12 3.5 12 3.500ZM9 15a3 3 0 0 0 3 3',
  smoke:
    'M4 12h16v3a3 3 0 0 1-3 3H7a3 3 0 0 1-3-3ZM9 8.500c0-1.5 1.5-1.5 1.5-3S9 4 9 3M14 8.500c0-1.5 1.5-1.5 1.5-3S14 4 14 3M12 15v.1',
  freezer: 'M12 3v18M4.2 7.500l15.6 9M19.8 7.500l-15.6 9M9.5 4.5 12 7l2.5-2.500M9.5 19.5 12 17l2.5 2.5',
  fridge: 'M7 3h10a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H7a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1ZM6 10h12M9 6v1.500M9 13v3',
  washer:
    'M6 3h12a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1ZM12 9.500a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM8 6h.1M11 6h.1M9 14.500c2-1.5 4 1 6-.5',
  fan: 'M12 10.500a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3ZM12 10.500c-2-3-1-6.5 1.5-6.500s2 4-1 6.500M13.3 12.700c3.6.2 6 2.9 4.7 5.100s-4.5.2-5.2-3.600M10.7 12.700c-1.6 3.2-5.1 4.2-6.4 2s1.2-4.3 5.4-3.6',
  valve: 'M3 13h4l5-3v8l-5-3H3M21 13h-4l-5-3M21 16h-4l-5 2M12 10V5M8.5 5h7',
  vacuum: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM12 9.500a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5ZM5.5 8h13',
  button:
    'M7 4h10a3 3 0 0 1 3 3v10a3 3 0 0 1-3 3H7a3 3 0 0 1-3-3V7a3 3 0 0 1 3-3ZM12 8.500a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7Z',
  air: 'M3 9h10.500a2.5 2.5 0 1 0-2.5-2.500M3 13h15a2.5 2.5 0 1 1-2.5 2.500M3 17h7a2 2 0 1 1-2 2',
  energy: 'M13 3 5.5 13.500H11L10 21l8-11h-5.500Z',
  solar:
    'M12 3v2M5.6 5.6 7 7M18.4 5.6 17 7M4 12h1.500M18.5 12H20M8.5 11a3.5 3.5 0 0 1 7 0M6 14h12l2 7H4ZM12 14v7M5 17.500h14',
  battery: 'M4 8h14v8H4zM20.5 11v2M7 10.500v3M10 10.500v3',
  water: 'M5 4h14l-1.5 16h-11ZM6 11c2-1.5 4 1.5 6 0s4 1.5 6 0',
  vehicle: 'M4 16v-4l2-5.500h12L20 12v4M4 12h16M4 16h16v2.500h-3V16M7 16v2.500H4V16M7.5 14h.1M16.5 14h.1',
  weather: 'M7.5 18.500a4 4 0 0 1-.3-8A5.5 5.5 0 0 1 17.8 11a3.8 3.8 0 0 1-.3 7.500Z',
  camera: 'M4 8h3l1.5-2.500h7L17 8h3v11H4ZM12 10.500a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z',
  gateway: 'M4 14h16v5H4zM7.5 16.500h.1M10.5 16.500h.1M12 14v-3M8.8 8.500a4.5 4.5 0 0 1 6.4 0M6.5 6a7.8 7.8 0 0 1 11 0',
  machine:
    'M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.600l2.2 2.200M16.2 16.200l2.2 2.200M18.4 5.600l-2.2 2.200M7.8 16.200l-2.2 2.2',
  other:
    'M8 8h8v8H8zM10.5 8V4.500M13.5 8V4.500M10.5 19.500V16M13.5 19.500V16M8 10.500H4.500M8 13.500H4.500M19.5 10.500H16M19.5 13.500H16',
} as const

export const iconNames = Object.keys(deviceDrawings) as readonly (keyof typeof deviceDrawings)[]

const drawings: Readonly<Record<string, string>> = {
  ...deviceDrawings,
  alert: 'M12 4 2.8 20h18.400ZM12 10v4.500M12 17.300v.1',
  silent: 'M9.5 9.500a3.5 3.5 0 0 0 5 5M6.5 6.500a7.8 7.8 0 0 0 0 11M17.5 17.500a7.8 7.8 0 0 0 0-11M4 4l16 16',
  unstored: 'M5 7c0-1.7 3.1-3 7-3s7 1.3 7 3v10c0 1.7-3.1 3-7 3s-7-1.3-7-3ZM9.5 10.500l5 5M14.5 10.500l-5 5',
  found: 'M12 5v14M5 12h14',
  well: 'm5 12.5 4.5 4.500L19 7.5',
  cards: 'M4 5h7v6H4zM13 5h7v6h-7zM4 13h7v6H4zM13 13h7v6h-7z',
  list: 'M4 6.500h16M4 12h16M4 17.500h16',
  heat: 'M4 4h4v4H4zM10 4h4v4h-4zM16 4h4v4h-4zM4 10h4v4H4zM10 10h4v4h-4zM16 10h4v4h-4zM4 16h4v4H4zM10 16h4v4h-4zM16 16h4v4h-4z',
  bell: 'M6 17V11a6 6 0 0 1 12 0v6l1.5 1.500h-15ZM10 21h4',
  close: 'm6 6 12 12M18 6 6 18',
  chart: 'M4 19h16M5 15l4-5 4 3 6-7',
  star: 'm12 3.500 2.700 5.600 6.100.8-4.500 4.200 1.100 6.100-5.400-3-5.400 3 1.100-6.100-4.500-4.200 6.100-.8Z',
  edit: 'M4 20l1-4.500L16 4.500l3.500 3.500L8.500 19ZM14 6.500l3.500 3.500',
}

/** A line drawing; unknown names are drawn as `other`. */
export function Icon({ name, size = 20 }: { readonly name: string; readonly size?: number }) {
  const path = Object.hasOwn(drawings, name) ? drawings[name] : drawings.other
  return (
    <svg class="glyph" viewBox="0 0 24 24" width={size} height={size} aria-hidden="true">
      <path d={path} />
    </svg>
  )
}
