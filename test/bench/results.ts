import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** `B` is for memory, shown in KB; `bytes` for a few of them. */
export type Unit = '/s' | 'ms' | 'B' | 'bytes'

/** One figure of every candidate, from the same run. A candidate that failed, or was left out, has none. */
export interface Row {
  readonly name: string
  readonly unit: Unit
  readonly telehub?: number
  /** Mosquitto. */
  readonly rival?: number
  /** The least Node can do: see floor.ts. */
  readonly floor?: number
  /** telehub to rival. */
  readonly ratio?: number
  /** In words; a row without one is there to see how cost grows. */
  readonly target?: string
  readonly reached?: boolean
  /** Anything about telehub's figure that must be known to understand it. */
  readonly note?: string
  /** Processor time in parts of one core while it was measured: of the server and of the load generator. */
  readonly cpu: Readonly<Partial<Record<'telehub' | 'rival' | 'floor', { server: number; generator: number }>>>
}

export interface Results {
  /** ISO 8601. */
  readonly date: string
  readonly machine: { readonly cores: number; readonly cpu: string; readonly memoryBytes: number }
  readonly versions: { readonly telehub: string; readonly mosquitto: string; readonly node: string }
  /** How long each candidate was measured in each row. */
  readonly seconds: number
  readonly rows: readonly Row[]
  /** Of another run: npm run bench -- pipeline. */
  readonly pipeline?: PipelineResults
  /** Of another run: npm run bench -- access. */
  readonly access?: AccessResults
  /** Of another run: npm run bench -- mqtt5. */
  readonly mqtt5?: Mqtt5Results
  /** Of another run: npm run bench -- month. */
  readonly month?: MonthResults
  /** Of another run: npm run bench -- screen. */
  readonly screen?: ScreenResults
}

/** One page of the dashboard in headless Chromium: see screen.ts. */
export interface ScreenRow {
  readonly place: string
  readonly devices: number
  readonly values: number
  /** Values published per second meanwhile. */
  readonly updates: number
  readonly frames: number
  readonly scriptPercent: number
  /** Median of the first visits, until the first card is painted. */
  readonly firstMs: number
  readonly filterMs: number
  readonly tabMb: number
  /** Received on a first visit until then. */
  readonly bytes: number
  /** Of a page of two lines. */
  readonly floorFrames: number
  readonly floorTabMb: number
}

export interface ScreenResults extends Pick<Results, 'date' | 'machine' | 'seconds'> {
  readonly telehub: string
  readonly targets: Readonly<Record<string, number>>
  readonly rows: readonly ScreenRow[]
}

/** What a month of simulated readings takes, by name: see month.ts. */
export interface MonthResults extends Pick<Results, 'date' | 'machine'> {
  readonly telehub: string
  readonly days: number
  /** Interval of the reports of a machine of the plant. */
  readonly plantSeconds: number
  /** store.keep. */
  readonly keep: string
  readonly figures: Readonly<Record<string, number>>
}

/** The same figure twice, in words what was different. */
export interface AccessRow {
  readonly name: string
  readonly unit: Unit
  readonly without: string
  readonly before: number
  readonly with: string
  readonly after: number
}

export interface AccessResults extends Pick<Results, 'date' | 'machine' | 'seconds'> {
  readonly telehub: string
  readonly rows: readonly AccessRow[]
}

/** The same figure twice of every candidate, as MQTT 3.1.1 and MQTT 5 have it: see mqtt5.ts. */
export interface Mqtt5Row {
  readonly name: string
  readonly unit: Unit
  /** In words what was different. */
  readonly without: string
  readonly with: string
  readonly telehub?: Beside
  /** Mosquitto. */
  readonly rival?: Beside
  readonly floor?: Beside
  readonly target?: string
  readonly reached?: boolean
}

export interface Beside {
  readonly before: number
  readonly after: number
}

export interface Mqtt5Results extends Pick<Results, 'date' | 'machine' | 'versions' | 'seconds'> {
  readonly rows: readonly Mqtt5Row[]
}

/** One figure of what is behind the broker: see pipeline.ts. */
export interface PipelineRow extends Omit<Row, 'rival' | 'floor' | 'cpu'> {
  /** RabbitMQ's own MQTT plugin. */
  readonly rival?: number
  /** Processor time in parts of one core while telehub was measured, by process. */
  readonly cores: Readonly<Record<string, number>>
  /** Most memory telehub's process had. */
  readonly memoryBytes?: number
}

export interface PipelineResults extends Pick<Results, 'date' | 'machine' | 'seconds'> {
  readonly versions: Readonly<Record<'telehub' | 'node' | 'rabbitmq' | 'influxdb', string>>
  /** Messages that were caught up on. */
  readonly backlog: number
  readonly rows: readonly PipelineRow[]
}

/** In the sources, not in what is compiled from them: it is committed. */
export const resultsFile = fileURLToPath(new URL('../../../test/bench/results.json', import.meta.url))

export function readResults(): Results {
  return JSON.parse(readFileSync(resultsFile, 'utf8')) as Results
}

export function figure(value: number | undefined, unit: Unit): string {
  if (value === undefined) return '—'
  if (unit === '/s') return `${Math.round(value).toLocaleString('en')}/s`
  if (unit === 'bytes') return `${value.toFixed(1)} bytes`
  if (unit === 'B') return `${(value / 1_000).toFixed(1)} KB`
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`
}

/** Three digits behind the point, none above a thousand: what comes after is chance. */
export function rounded(value: number): number {
  return Number(value.toFixed(Math.abs(value) >= 1_000 ? 0 : 3))
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0
}

/** telehub against its rival: a factor; for times what it takes longer, for a few bytes by how many percent they differ. */
export function comparison({ unit, telehub, rival, ratio }: Pick<Row, 'unit' | 'telehub' | 'rival' | 'ratio'>): string {
  if (telehub === undefined || rival === undefined || ratio === undefined) return ''
  const difference = telehub - rival
  if (unit === 'bytes') return percent(difference / rival)
  return unit === 'ms' ? `${difference < 0 ? '−' : '+'}${figure(Math.abs(difference), unit)}` : `${ratio.toFixed(2)} ×`
}

function percent(part: number): string {
  const rounded = Math.round(100 * part)
  return `${rounded < 0 ? '−' : rounded > 0 ? '+' : ''}${Math.abs(rounded)} %`
}

/** What came after against what was before. */
export function change(unit: Unit, beside: Beside | undefined): string {
  return beside
    ? comparison({ unit, telehub: beside.after, rival: beside.before, ratio: beside.after / beside.before })
    : ''
}

export const verdict = ({ reached }: Pick<Row, 'reached'>): string =>
  reached === undefined ? '' : reached ? 'reached' : 'missed'

/** The rows of all runs in docs/benchmarks.md, a chapter for each run. */
export function resultsMarkdown(results: Results): string {
  const { pipeline, access, mqtt5, month, screen } = results
  const chapter = (title: string, text: string) => `## ${title}\n\n${text}`
  return [
    chapter('The broker', brokerMarkdown(results)),
    ...(pipeline ? [chapter('RabbitMQ, InfluxDB and DuckDB', pipelineMarkdown(pipeline))] : []),
    ...(access ? [chapter('Users and rules', accessMarkdown(access))] : []),
    ...(mqtt5 ? [chapter('MQTT 5 beside 3.1.1', mqtt5Markdown(mqtt5))] : []),
    ...(month ? [chapter('A month on disk', monthMarkdown(month))] : []),
    ...(screen ? [chapter('The dashboard', screenMarkdown(screen))] : []),
  ].join('\n\n')
}

/** The rows that the README shows, by name: seven of the broker, three of what is behind it. */
const summaryRows: Readonly<Record<'broker' | 'pipeline', readonly string[]>> = {
  broker: [
    'durable QoS 1 ingest, 100 publishers, window 20',
    'QoS 0 to one subscriber, as fast as TCP takes it',
    '100 WebSocket subscribers, saturated',
    '100 WebSocket subscribers, 200,000 deliveries/s offered, p99',
    'device to dashboard, QoS 1, 10,000 msg/s, p99',
    '10,000 connections, opened',
    '10,000 connections, memory of each when idle',
  ],
  pipeline: [
    'device to RabbitMQ, quorum queue, envelope batch',
    'device to RabbitMQ to InfluxDB, readable, envelope batch',
    'embedded: device to DuckDB, readable',
  ],
}

/** The ten rows of the README. Throws when the results have no row of a name that it shows. */
export function summaryMarkdown(results: Results): string {
  const { pipeline } = results
  if (!pipeline) throw new Error('the results are without those of npm run bench -- pipeline')
  const line = (rows: readonly Omit<Row, 'cpu'>[], rival: string) => (name: string) => {
    const row = rows.find(one => one.name === name)
    if (!row) throw new Error(`the results have no row "${name}"`)
    const beside = row.rival === undefined ? '' : `${rival} ${figure(row.rival, row.unit)}`
    return `| ${[name, figure(row.telehub, row.unit), beside, comparison(row), row.target ?? '', verdict(row)].join(' | ')} |`
  }
  const all = [...results.rows, ...pipeline.rows]
  const dates = [...new Set([results.date, pipeline.date].map(date => date.slice(0, 10)))].sort()
  return [
    '| | telehub | beside it | | target | |',
    '|---|---:|---:|---:|---|---|',
    ...summaryRows.broker.map(line(results.rows, 'Mosquitto')),
    ...summaryRows.pipeline.map(line(pipeline.rows, "RabbitMQ's MQTT plugin")),
    '',
    `Measured ${dates.join(' and ')} on ${coresOf(results.machine)}, which the load generator shares. In every row telehub has ` +
      'what it takes on disk before PUBACK, and stores it meanwhile; Mosquitto keeps it in memory only. ' +
      `In all ${all.length} rows of these two runs: ${reachedOf(all)}`,
  ].join('\n')
}

function accessMarkdown({ date, machine, telehub, seconds, rows }: AccessResults): string {
  const line = ({ name, unit, without, before, with: withIt, after }: AccessRow) =>
    `| ${name} | ${without}: ${figure(before, unit)} | ${withIt}: ${figure(after, unit)} | ${change(unit, { before, after })} |`
  return [
    '| what users and rules cost | without | with | |',
    '|---|---:|---:|---:|',
    ...rows.map(line),
    '',
    `Measured ${date.slice(0, 10)} in one run of \`npm run bench -- access\`, medians of three, ${seconds} s each, on ` +
      `${coresOf(machine)}. With rules: the users file has 103 users, the measured one has 24 rules, and every delivery is ` +
      'checked. The wrong passwords come from 16,256 addresses, half of them for a user that exists. The client that behaves ' +
      `has a password, and has logged in before. telehub ${telehub}.`,
  ].join('\n')
}

function mqtt5Markdown({ date, machine, versions, seconds, rows }: Mqtt5Results): string {
  const line = (row: Mqtt5Row) => {
    const { unit, telehub } = row
    return [
      row.name,
      `${row.without}: ${figure(telehub?.before, unit)}`,
      `${row.with}: ${figure(telehub?.after, unit)}`,
      change(unit, telehub),
      row.target ?? '',
      verdict(row),
      change(unit, row.rival),
      change(unit, row.floor),
    ].join(' | ')
  }
  return [
    '| MQTT 5 beside 3.1.1 | telehub | | | target | | Mosquitto | Node floor |',
    '|---|---:|---:|---:|---|---|---:|---:|',
    ...rows.map(row => `| ${line(row)} |`),
    '',
    `${reachedOf(rows)} Measured ${date.slice(0, 10)} in one run of \`npm run bench -- mqtt5\`, medians of three, ${seconds} s ` +
      `each, on ${coresOf(machine)}. The two sides of a row take turns on the same server. For Mosquitto and the Node floor ` +
      'the table shows how their second side compares with their first. The floor only steps over properties. Publishers and ' +
      'subscribers speak the same version, and their PUBLISH packets have no properties. The group shares one subscription ' +
      '(`$share`): in MQTT 5, 10 publishers keep 1,000 messages on their way until they are acknowledged and delivered. Topic ' +
      'aliases: the bytes that a subscriber receives over TCP, for 64 bytes of JSON on 10 topics such as ' +
      '`plant/line-4/press-17/telemetry`. With more topics than aliases, less is saved. ' +
      `telehub ${versions.telehub} (Node ${versions.node}), Mosquitto ${versions.mosquitto}.`,
  ].join('\n')
}

function monthMarkdown({ date, machine, telehub, days, plantSeconds, keep, figures }: MonthResults): string {
  const of = (name: string) => figures[name] ?? 0
  const megabytes = (name: string) => `${(of(name) / 1e6).toFixed(1)} MB`
  const count = (name: string) => Math.round(of(name)).toLocaleString('en')
  const seconds = (name: string) => `${of(`${name} seconds`).toFixed(1)} s`
  const late =
    figures['late readings'] === undefined
      ? ''
      : `Readings of a week, of three devices that were away, came late into readings, minutes and hours: ${count('late readings')} in ${seconds('late')}. `
  const line = (what: string, name: string) => {
    const rolled = ['1m', '1h', '1d'].reduce((sum, tier) => sum + of(`${name} ${tier} bytes`), 0)
    const size = `${(rolled / 1e6).toFixed(1)} MB`
    return `| ${what} | ${count(`${name} raw rows`)} | ${megabytes(`${name} raw bytes`)} | ${size} | ${megabytes(`${name} used bytes`)} |`
  }
  return [
    `| ${days} days in DuckDB | readings stored | they take | roll-ups take | in all |`,
    '|---|---:|---:|---:|---:|',
    line('as it came', 'month'),
    line(`after retention (\`${keep}\`)`, 'retained'),
    ...(figures['thinned used bytes'] === undefined
      ? []
      : [line('with the rules that `telehub noise` proposes', 'thinned')]),
    '',
    `Measured ${date.slice(0, 10)} in one run of \`npm run bench -- month\` on ${coresOf(machine)}, beside other work: the times are ` +
      `upper bounds. ${count('ingest messages')} messages with ${count('ingest readings')} readings of the simulated devices: a home ` +
      `of ten (the meter every 10 s, the others once a minute), and 40 machines with 30 values each, every ${plantSeconds / 60} minutes ` +
      '(the simulator sends each second, 900 times as much). Each reading has its own time in the past month; all went by MQTT, QoS 1, ' +
      `through a hub. A backup of the month took ${seconds('backup')} (${megabytes('backup bytes')}), once more ` +
      `${seconds('backup again')}, the restore ${seconds('restore')}, and the start of the restored hub ` +
      `${seconds('restored start')}. ${late}Count and sum of every hour of every device were compared with what was sent: ` +
      `before retention, after it, ${late ? 'after the late readings, ' : ''}and in the restored hub: ` +
      `${count('hours compared')} compared, ${count('hours different')} different. telehub ${telehub}.`,
  ].join('\n')
}

function screenMarkdown({ date, machine, telehub, seconds, targets, rows }: ScreenResults): string {
  const of = (name: string) => targets[name] ?? 0
  // Chromium counts one frame more or less, by where the seconds begin.
  const mark = (isReached: boolean) => (isReached ? '' : ' ✗')
  const line = (row: ScreenRow) =>
    [
      `${row.place}, ${row.devices.toLocaleString('en')} devices × ${row.values}, ${row.updates.toLocaleString('en')} values/s`,
      `${row.frames} (${row.floorFrames})${mark(row.frames >= Math.min(of('frames'), row.floorFrames) - 1)}`,
      `${row.scriptPercent} %${mark(row.scriptPercent <= of('scriptPercent'))}`,
      `${(row.firstMs / 1_000).toFixed(1)} s${mark(row.firstMs <= of('firstMs'))}`,
      `${Math.round(row.filterMs)} ms${mark(row.filterMs <= of('filterMs'))}`,
      `${Math.round(row.tabMb)} MB (${Math.round(row.floorTabMb)} MB)${mark(row.tabMb <= of('tabMb'))}`,
      `${Math.round(row.bytes / 1_000)} kB${mark(row.bytes <= of('bytes'))}`,
    ].join(' | ')
  return [
    '| | frames/s (floor) | script | first card | filter | tab (floor) | first visit |',
    '|---|---:|---:|---:|---:|---:|---:|',
    `| at most, frames at least | ${of('frames')} | ${of('scriptPercent')} % | ${of('firstMs') / 1_000} s | ${of('filterMs')} ms | ${of('tabMb')} MB | ${of('bytes') / 1_000} kB |`,
    ...rows.map(row => `| ${line(row)} |`),
    '',
    `Measured ${date.slice(0, 10)} in one run of \`npm run bench -- screen\`, ${seconds} s each, on ${coresOf(machine)}, which the hub ` +
      'and the load generator share; ✗ marks what misses its target. Chromium is headless and draws without a graphics processor. The floor is a ' +
      'page of two lines that moves one square, with the same hub under the same load. First card: from the address to the ' +
      'painted card, median of three browsers that have never been there; first visit: what they receive until then. Filter: from the key to the painted page. Tab: resident ' +
      `memory of the process that draws the page. telehub ${telehub}.`,
  ].join('\n')
}

function brokerMarkdown({ date, machine, versions, seconds, rows }: Results): string {
  const line = (row: Row) =>
    [
      row.note ? `${row.name} (${row.note})` : row.name,
      figure(row.telehub, row.unit),
      figure(row.rival, row.unit),
      row.floor === undefined ? '' : figure(row.floor, row.unit),
      comparison(row),
      row.target ?? '',
      verdict(row),
    ].join(' | ')
  const shares = rows.flatMap(({ cpu }) => Object.values(cpu).map(({ generator }) => generator))
  return [
    '| | telehub | Mosquitto | Node floor | to Mosquitto | target | |',
    '|---|---:|---:|---:|---:|---|---|',
    ...rows.map(row => `| ${line(row)} |`),
    '',
    `${reachedOf(rows)} Measured ${date.slice(0, 10)} in one run of \`npm run bench\`, ${seconds} s ` +
      `each, on ${coresOf(machine)}, of which the load generator took ` +
      `${Math.max(...shares).toFixed(1)} at most. telehub ` +
      `${versions.telehub} (Node ${versions.node}) runs as with \`npm start\`: a message is on disk before its PUBACK, and is ` +
      `stored in DuckDB meanwhile. Mosquitto ${versions.mosquitto} keeps everything in memory, without queue limits, with ` +
      'TCP_NODELAY. The Node floor is a program that parses, acknowledges and passes on messages, and does nothing else.',
  ].join('\n')
}

function pipelineMarkdown({ date, machine, versions, seconds, backlog, rows }: PipelineResults): string {
  const line = (row: PipelineRow) =>
    [
      row.note ? `${row.name} (${row.note})` : row.name,
      figure(row.telehub, row.unit),
      row.rival === undefined ? '' : figure(row.rival, row.unit),
      comparison(row),
      row.target ?? '',
      verdict(row),
    ].join(' | ')
  return [
    "| | telehub | RabbitMQ's MQTT plugin | to the plugin | target | |",
    '|---|---:|---:|---:|---|---|',
    ...rows.map(row => `| ${line(row)} |`),
    '',
    `${reachedOf(rows)} Measured ${date.slice(0, 10)} in one run of \`npm run bench -- pipeline\`, ${seconds} s each, on ` +
      `${coresOf(machine)}, which the load generator, RabbitMQ and InfluxDB share. A reading is one QoS 1 message, which becomes ` +
      'one point of three numbers; 100 devices send with a window of 20. The rate is the highest one found at which nothing ' +
      'piled up in the spool or the queue. Afterwards every acknowledged reading was found: in the quorum queue by publisher ' +
      'confirms, in the stores by the history API. The plugin acknowledges when the quorum queue has confirmed. Catching up: ' +
      `${backlog.toLocaleString('en')} messages wait while the store is away or too slow. The rate is by how many messages a ` +
      'second the backlog shrinks while 5,000/s continue to arrive. ' +
      `telehub ${versions.telehub} (Node ${versions.node}), RabbitMQ ${versions.rabbitmq}, InfluxDB ${versions.influxdb}.`,
  ].join('\n')
}

function reachedOf(rows: readonly Pick<Row, 'target' | 'reached'>[]): string {
  const rated = rows.filter(({ target }) => target)
  return `${rated.filter(row => row.reached).length} of ${rated.length} targets reached.`
}

function coresOf({ cores, cpu, memoryBytes }: Results['machine']): string {
  return `${cores} cores (${cpu}, ${Math.round(memoryBytes / 2 ** 30)} GB)`
}
