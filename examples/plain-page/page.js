import { connect, NewestValues } from '/client/client.js'

// #hub=http://127.0.0.1:8080&key=thk_…&topic=home/#: what follows the # stays in the browser.
const given = Object.fromEntries(
  location.hash
    .slice(1)
    .split('&')
    .map(part => part.split('=').map(decodeURIComponent)),
)
const { hub: url = 'http://127.0.0.1:8080', key: token, topic = '#' } = given

const [state, tiles, readings] = ['state', 'tiles', 'readings'].map(id => document.getElementById(id))
const tileOf = new Map()
const mostRows = 50

/** Adds a row, the newest reading first. Texts of devices are texts here, never HTML. */
function addRow(time, series, value, kind) {
  const row = readings.insertRow(0)
  for (const text of [new Date(time).toLocaleString(), series, value, kind]) row.insertCell().textContent = text
  if (readings.rows.length > mostRows) readings.deleteRow(-1)
}

function showTile({ series, value, unit = '', quality, refused }) {
  let tile = tileOf.get(series)
  if (!tile) {
    tile = tiles.appendChild(document.createElement('div'))
    tile.append(...['small', 'b', 'small'].map(name => document.createElement(name)))
    tileOf.set(series, tile)
  }
  const [name, number, note] = tile.children
  name.textContent = series
  number.textContent = `${value ?? '–'} ${unit}`
  note.textContent = refused ? `not stored: ${refused.reason}` : quality
}

const newest = new NewestValues({ changed: showTile })

function take(event) {
  newest.event(event)
  if (event.kind === 'start') {
    readings.replaceChildren()
    tiles.replaceChildren()
    tileOf.clear()
  } else if (event.kind === 'history') {
    const { times, values, series } = event.data
    for (const [i, time] of times.entries()) addRow(time, series, values[i], 'history')
  } else if (event.kind === 'live') {
    const { time, values } = event.data
    for (const { series, value, time: own = time } of values) addRow(own, series, value, 'live')
  }
}

const feed = connect({ url, token }).subscribe(topic, {
  history: '1h',
  points: 20,
  on: { event: take, state: showState },
})

function showState() {
  const { phase, error, gaps } = feed.state
  state.dataset.phase = phase
  state.textContent = [phase, gaps > 0 && `${gaps} gaps`, error?.message].filter(Boolean).join(' · ')
}
