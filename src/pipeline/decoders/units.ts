/** Units as devices write them behind a number, each under its usual spelling. */
const spellings: Readonly<Record<string, readonly string[]>> = {
  '°C': ['°C', '°c', 'degC', 'deg C', 'ºC', '℃', 'Cel', 'Celsius', 'celsius', 'C'],
  '°F': ['°F', '°f', 'degF', 'deg F', 'ºF', '℉', 'Fahrenheit', 'fahrenheit', 'F'],
  K: ['K', 'Kelvin', 'kelvin'],
  '°': ['°', 'deg', 'degrees'],
  '%': ['%', 'percent', '%RH', '% RH', '%rh'],
  ...Object.fromEntries(
    [
      ...[
        'V',
        'mV',
        'kV',
        'A',
        'mA',
        'µA',
        'W',
        'kW',
        'MW',
        'mW',
        'Wh',
        'kWh',
        'MWh',
        'VA',
        'kVA',
        'var',
        'kvar',
        'VAr',
      ],
      ...['kvarh', 'Ah', 'mAh', 'Hz', 'kHz', 'MHz', 'GHz', 'Pa', 'hPa', 'kPa', 'mbar', 'bar', 'psi', 'mmHg', 'inHg'],
      ...[
        'lx',
        'lm',
        'ppm',
        'ppb',
        'µg/m³',
        'mg/m³',
        'g/m³',
        'm³',
        'm³/h',
        'L',
        'l',
        'mL',
        'ml',
        'L/min',
        'l/min',
        'L/h',
      ],
      ...[
        'l/h',
        'gal',
        'mm',
        'cm',
        'm',
        'km',
        'in',
        'ft',
        'mi',
        'mm/h',
        'm/s',
        'km/h',
        'mph',
        'kn',
        'm²',
        's',
        'ms',
        'µs',
      ],
      ...['min', 'h', 'd', 'dB', 'dBm', 'dB(A)', 'dBA', 'rpm', 'g', 'mg', 'kg', 't', 'lb', 'oz', 'J', 'kJ', 'MJ', 'GJ'],
      ...['N', 'Nm', 'Ω', 'kΩ', 'MΩ', 'S/m', 'µS/cm', 'mS/cm', 'pH', 'NTU', 'B', 'kB', 'MB', 'GB', 'TB', 'KiB', 'MiB'],
      ...[
        'GiB',
        'bit/s',
        'kbit/s',
        'Mbit/s',
        'Gbit/s',
        'kB/s',
        'MB/s',
        'W/m²',
        'kWh/m²',
        'lx·h',
        'cd',
        'mol',
        'rad',
        'Bq',
      ],
      ...['Bq/m³', 'µSv/h', 'nSv/h', 'cpm', 'mV/V', 'VA·h', '€', '€/kWh', 'ct/kWh', 'mired', 'lqi'],
    ].map(unit => [unit, [unit]]),
  ),
  lx: ['lx', 'lux', 'Lux'],
  rpm: ['rpm', 'RPM', 'U/min', '1/min'],
  'µg/m³': ['µg/m³', 'μg/m³', 'ug/m3', 'µg/m3', 'μg/m3'],
  'mg/m³': ['mg/m³', 'mg/m3'],
  'm³': ['m³', 'm3'],
  'm³/h': ['m³/h', 'm3/h'],
  'W/m²': ['W/m²', 'W/m2'],
  'm²': ['m²', 'm2'],
  µA: ['µA', 'uA', 'μA'],
  µs: ['µs', 'us', 'μs'],
  'µS/cm': ['µS/cm', 'uS/cm', 'μS/cm'],
  'µSv/h': ['µSv/h', 'uSv/h', 'μSv/h'],
  Ω: ['Ω', 'ohm', 'Ohm'],
  hPa: ['hPa', 'hpa'],
  'km/h': ['km/h', 'kmh', 'kph'],
}

const units: ReadonlyMap<string, string> = new Map(
  Object.entries(spellings).flatMap(([unit, all]) => all.map(text => [text, unit] as const)),
)

/** Returns the usual spelling of a unit. Undefined for a text that is no unit known here. */
export function knownUnit(text: string): string | undefined {
  return units.get(text)
}

/** Returns the usual spelling of a unit that a payload names as such, or the text itself; undefined for other texts. */
export function namedUnit(text: string): string | undefined {
  const trimmed = text.trim()
  if (trimmed === '' || trimmed.length > 20) return undefined
  return units.get(trimmed) ?? trimmed
}
