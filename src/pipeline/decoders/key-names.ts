import { knownUnit } from './units.js'

/** Meaning of the name of a JSON member, or of a topic level. */
export interface KeyKind {
  /** How far the name is that of the reading's time: the smallest counts, 0 is no such name. */
  readonly time: number
  /** Whether a time under this name may be one of a clock that is not set; otherwise such a number is just a number. */
  readonly isSureTime: boolean
  /** Whether a clock time without a zone is UTC under this name. */
  readonly isUtc: boolean
  /** Whether texts under this name stay texts, however they look: identifiers and versions. */
  readonly isText: boolean
  /** Whether the value is one of several words, such as a mode. */
  readonly isChoice: boolean
  /** How far the name tells the elements of an array apart: the smallest counts, 0 is no such name. */
  readonly identity: number
  /** The beginning, in lower case, of the names whose unit this member names; empty for the value beside it. */
  readonly unitOf: string | undefined
  /** The unit that the name itself tells in brackets: `Power [W]`. */
  readonly ownUnit: string | undefined
  /** Whether the member holds the one value of its object. */
  readonly isValue: boolean
  /** Whether the name may be more than a name: empty, long, with dots, or beginning with a digit as times do. */
  readonly isSpecial: boolean
}

/** Names of the time, in lower case without separators, in the order in which they count. The first ones are sure. */
const sureTimes = [
  ...['time', 'timestamp', 'ts', 'tst', 'unixtime', 'unixtimestamp', 'datetime', 'timestamputc', 'utctime'],
  ...['timeutc', 'isotime', 'isotimestamp', 'epochtime', 'timems', 'tsms', 'timestampms', 'timestampns'],
]
const times = [
  ...sureTimes,
  ...['eventtime', 'eventtimestamp', 'eventdate', 'measuredat', 'measuretime', 'measurementtime', 'measuredtime'],
  ...['measurementtimestamp', 'measurementdate', 'sampletime', 'sampletimestamp', 'sampledat', 'samplingtime'],
  ...['recordedat', 'recordtime', 'observedat', 'observationtime', 'phenomenontime', 'resulttime', 'sourcetimestamp'],
  ...['sourcetime', 'devicetime', 'devicetimestamp', 'servertimestamp', 'gatewaytime', 'readingtime', 'readat'],
  ...[
    'loggedat',
    'logtime',
    'capturedat',
    'collectedat',
    'receivedat',
    'recvtime',
    'rxtime',
    'reportedat',
    'reporttime',
  ],
  ...['publishedat', 'sentat', 'sendtime', 'createdat', 'creationtime', 'datecreated', 'dateutc', 'dt', 'epoch'],
  ...['unix', 'utc', 'date', 'localtime', 'localdatetime'],
  ...['lastseen', 'lastupdate', 'lastupdated', 'lastupdatedat', 'updatedat', 'updatetime', 'lastreported'],
]
/** Names of times that are not that of the reading, and that nobody wants as a series. */
const otherTimes = ['lastchange', 'lastchanged', 'lastchangedat', 'lc', 'lasttriggered', 'laststatechange']
/** Rank of those. */
export const otherTime = 1_000
const timeRanks: ReadonlyMap<string, number> = new Map([
  ...times.map((name, i) => [name, i + 1] as const),
  ...otherTimes.map(name => [name, otherTime] as const),
])

/** Names that tell the elements of an array apart, in the order in which they count. The first ones are sure. */
const sureIdentities = [
  ...[
    'n',
    'name',
    'metric',
    'tag',
    'tagname',
    'component',
    'id',
    'uuid',
    'key',
    'sensor',
    'sensorid',
    'sensorname',
    'deviceid',
  ],
  ...['device', 'devicename', 'devid', 'deveui', 'point', 'pointid', 'pointname', 'signal', 'variable', 'parameter'],
  ...['param', 'obis', 'register', 'friendlyname', 'ieeeaddress', 'mac', 'macaddress', 'macaddr', 'address', 'addr'],
  ...['serial', 'serialnumber', 'sn', 'gatewayid', 'gateway', 'gwid', 'channel', 'channelid', 'ch', 'chn', 'port'],
  ...['slot', 'unitid', 'node', 'nodeid', 'phase', 'string', 'datapoint', 'dataitemid', 'valuetype', 'sensortype'],
]
const identities = [
  ...sureIdentities,
  ...['code', 'index', 'idx', 'position', 'number', 'no', 'nr', 'zone', 'room', 'location', 'label', 'title'],
  ...['displayname', 'description', 'desc', 'quantity', 'measurement', 'field', 'type'],
]
/** Last words of names that tell the elements of an array apart where no better one does: `value_type`, `meter_id`. */
const identityWords: ReadonlySet<string> = new Set(['id', 'name', 'key', 'type', 'address', 'serial', 'mac'])
/** First words of names that tell records apart, of which each is a new one: `message_id`. */
const recordWords: ReadonlySet<string> = new Set([
  ...['alarm', 'alert', 'batch', 'correlation', 'error', 'event', 'job', 'log', 'message', 'msg', 'order', 'packet'],
  ...['record', 'request', 'row', 'sample', 'sequence', 'session', 'task', 'trace', 'transaction', 'trip', 'user'],
])
/** Rank of the last name that tells also readings one after the other apart. */
export const lastSureIdentity = sureIdentities.length
const identityRanks: ReadonlyMap<string, number> = new Map(identities.map((name, i) => [name, i + 1]))

const valueNames: ReadonlySet<string> = new Set(['value', 'v', 'val', 'reading'])

/** Last words of names whose values are texts, however they look: `0042` and `2024.6` are no numbers there. */
const textWords: ReadonlySet<string> = new Set([
  ...[
    'id',
    'ids',
    'uid',
    'uuid',
    'guid',
    'eui',
    'rfid',
    'mac',
    'ip',
    'ssid',
    'bssid',
    'imei',
    'imsi',
    'iccid',
    'msisdn',
  ],
  ...[
    'version',
    'ver',
    'firmware',
    'fw',
    'swversion',
    'hwversion',
    'serial',
    'serialnumber',
    'serialno',
    'sn',
    'barcode',
  ],
  ...['model', 'name', 'label', 'title', 'hash', 'hex', 'token', 'phone', 'zip', 'postcode', 'hostname', 'revision'],
])
/** Last words of names whose words are one of several, so that `off` is no boolean there. */
const choiceWords: ReadonlySet<string> = new Set(['mode', 'preset', 'program', 'effect', 'action', 'scene', 'tariff'])

const known = new Map<string, KeyKind>()
/** Most names remembered. Devices choose the names. */
const maxKnown = 20_000

/** Returns what a name tells. Names come again and again, so each is examined once. */
export function kindOf(name: string): KeyKind {
  let kind = known.get(name)
  if (kind) return kind
  kind = name.length > 64 ? { ...noKind, isSpecial: true } : examine(name)
  if (known.size >= maxKnown) known.clear()
  known.set(name, kind)
  return kind
}

/** Kind of a name that tells nothing. */
export const noKind: KeyKind = {
  time: 0,
  isSureTime: false,
  isUtc: false,
  isText: false,
  isChoice: false,
  identity: 0,
  unitOf: undefined,
  ownUnit: undefined,
  isValue: false,
  isSpecial: false,
}

function isIdentity(words: readonly string[]): boolean {
  return words.length > 1 && identityWords.has(words.at(-1) as string) && !recordWords.has(words[0] as string)
}

function examine(name: string): KeyKind {
  const words = name
    .replace(/([a-z\d])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter(word => word !== '')
  const joined = words.join('')
  const time = timeRanks.get(joined) ?? 0
  const unit = /^(.*?)(?:units?|uom|unitofmeasurement|unitofmeasure)$/.exec(joined)?.[1]
  const kind: KeyKind = {
    time,
    isSureTime: time > 0 && time <= sureTimes.length,
    isUtc: time > 0 && joined.includes('utc'),
    isText: textWords.has(words.at(-1) ?? '') || textWords.has(joined),
    isChoice: choiceWords.has(words.at(-1) ?? ''),
    identity: identityRanks.get(joined) ?? (isIdentity(words) ? identities.length : 0),
    unitOf: joined === 'u' ? '' : unit,
    ownUnit: knownUnit(/[([]\s*([^()[\]]{1,12}?)\s*[)\]]$/.exec(name)?.[1] ?? ''),
    isValue: valueNames.has(joined),
    isSpecial: name === '' || /^\d|\./.test(name),
  }
  const isPlain = Object.entries(kind).every(([member, value]) => value === noKind[member as keyof KeyKind])
  return isPlain ? noKind : kind
}
