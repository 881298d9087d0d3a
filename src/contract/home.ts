import {
  array,
  boolean,
  closed,
  constant,
  integer,
  number,
  object,
  optional,
  string,
  union,
  withDefault,
  words,
} from './schema.js'

/*
 * The catalogue of devices: what belongs together, how people call it, and what can be done with it. Current values are
 * not here: they come over the feed, as `$hub/last/{topic}`. Times are milliseconds.
 */

const plain = union([number(), boolean(), string()])

export const deviceClasses = [
  ...['light', 'switch', 'plug', 'thermometer', 'thermostat', 'motion', 'door', 'cover', 'lock', 'leak', 'smoke'],
  ...['freezer', 'fridge', 'washer', 'fan', 'valve', 'vacuum', 'button', 'air', 'energy', 'solar', 'battery', 'water'],
  ...['vehicle', 'weather', 'camera', 'gateway', 'machine', 'other'],
] as const

const thresholds = object(
  {
    low: optional(number('Below: not usual')),
    high: optional(number('Above: not usual')),
    veryLow: optional(number('Below: bad')),
    veryHigh: optional(number('Above: bad')),
  },
  'Limits that people have set on the screen. They colour a value, and are no alert rules',
)

export const homeValue = object({
  topic: string('Topic of the readings, without $hub/last/'),
  field: string('Field on that topic, as in the values of $hub/last'),
  series: optional(string('Key as in /api/history; left out when nothing of it is stored')),
  key: optional(
    string('Language-neutral word for the name, such as `temperature`; left out where the device or a person named it'),
  ),
  name: string('For people: of a person, else of the device, else English made of the field'),
  class: optional(string('Quantity, in the words of Home Assistant: temperature, power, motion; or `state`, `level`')),
  unit: optional(string()),
  decimals: optional(integer('Digits behind the point to show')),
  main: boolean('Whether it is one of the two to four values that a card shows large'),
  role: words(['value', 'diagnostic', 'config']),
  type: optional(words(['number', 'boolean', 'text'], 'Left out until a reading has come')),
  fate: words(
    ['kept', 'live', 'late', 'unseen'],
    'kept: stored. live: shown and not stored, see reason. late: stored with a time that is late or was not believed. ' +
      'unseen: described, and no reading has come',
  ),
  reason: optional(string('Why it is not stored: a stable word, as of dead letters')),
  detail: optional(string('Why it is not stored: a sentence')),
  part: optional(string('Part of the device, where several of its values have the same name: `relay 1`')),
  texts: optional(
    array(
      object({
        value: plain,
        key: optional(string('Language-neutral: open, closed, on, off, detected, clear, …')),
        name: string(),
      }),
      'Words for the values, where a description says what they mean',
    ),
  ),
  hidden: optional(constant(true)),
  icon: optional(string()),
  thresholds: optional(thresholds),
})

export const homeControl = object({
  kind: words(['switch', 'slider', 'choice', 'button']),
  key: optional(string('Language-neutral word for the name')),
  name: string(),
  topic: string('Topic to which the payload goes, by POST /api/commands'),
  options: optional(
    array(
      object({
        name: string(),
        key: optional(string('Language-neutral word: on, off, open, close, stop, lock, unlock, press')),
        payload: string(),
        value: optional(plain),
      }),
      'switch: on, then off. choice: all. button: one. `value` is that of the state, as $hub/last has it: words such as ' +
        'ON and yes are true there, unless the field has had other words',
    ),
  ),
  payload: optional(string('slider: the payload, in which {value} stands for the number')),
  range: optional(object({ min: number(), max: number(), step: number(), unit: optional(string()) }, 'slider')),
  state: optional(object({ topic: string(), field: string() }, 'Where the value is shown that it sets')),
  dangerous: optional(constant(true, 'Ask first: locks, valves, gates, heaters, restarts, updates')),
})

export const homeDevice = object({
  id: string('Stable: of discovery, else the topic that its readings have in common'),
  name: string(),
  area: optional(string()),
  class: words(deviceClasses, 'For the icon'),
  icon: optional(string('Chosen by a person')),
  family: optional(string('The preset that knows it, such as zigbee2mqtt')),
  model: optional(string()),
  manufacturer: optional(string()),
  version: optional(string()),
  battery: optional(
    object({ topic: string(), field: string() }, 'Where the charge in percent is, or whether it is low'),
  ),
  online: optional(boolean('By its availability topic, else by the connection of its client; left out: not known')),
  availability: optional(
    object({ topic: string(), field: string(), online: array(plain), offline: array(plain) }, 'Topic that says so'),
  ),
  client: optional(string('The client from which all of it comes, for `$hub/presence/{client}`')),
  lastSeen: number('When it was last heard of; 0: not since the hub knows it'),
  usual: optional(number('Usual milliseconds between two messages; left out until that is learned')),
  silent: optional(constant(true, 'It has been silent for longer than is usual for it')),
  alerts: integer('Alerts that are firing'),
  severity: optional(words(['info', 'warning', 'critical'], 'The worst of these')),
  values: array(homeValue, 'Main values first; those with thresholds are never left out'),
  more: integer('Values that are left out here, as `values=main` asks'),
  notKept: integer('Values that are not stored'),
  controls: array(homeControl, 'Those that the caller may use'),
  hidden: optional(constant(true, 'Hidden by a person')),
  edits: optional(string('Id under which its edits are in /api/boards, where that is another one')),
  order: optional(number('Place within its area that a person chose')),
  given: optional(
    object({ name: optional(string()), area: optional(string()) }, 'What the device says, where a person changed it'),
  ),
})

/** The declaration of the catalogue. */
export const home = {
  'GET /api/home': {
    summary: 'Devices, with their areas, values and controls',
    description:
      'Grouped by what is known of families of devices, by discovery, by the tags of the mapping, else by topic. Holds ' +
      'what the caller may read, and the controls of topics to which the caller may publish. Current values come as ' +
      '`$hub/last/#`; a change of what is listed here is announced on the retained topic `$hub/home`, once a second at most.',
    query: closed({
      device: optional(string('Only this device, with all its values')),
      series: optional(
        union([string(), array(string())], 'Only the values of these series: keys from /api/series, up to 16'),
      ),
      search: optional(
        string('Only values whose names, with those of their device, contain all these words; `a|b`: one of both', {
          maxLength: 1_000,
        }),
      ),
      values: withDefault(words(['main', 'all'], '`main`: of each device the main values only'), 'main'),
      limit: withDefault(integer(undefined, { minimum: 1, maximum: 20_000 }), 2_000),
      after: optional(string('`next` of the page before')),
    }),
    answer: object({
      revision: integer('Grows with each change of structure; as in `$hub/home`'),
      edits: string('ETag of the edits that are in it, as of /api/boards'),
      count: integer('Devices that the caller may see'),
      areas: array(object({ name: string(), devices: integer() }), 'In the order in which they are shown'),
      devices: array(homeDevice, 'By area and order'),
      next: optional(string('Left out on the last page')),
    }),
  },
} as const
