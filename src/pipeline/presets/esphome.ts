import type { Preset } from './preset.js'

const components =
  '(alarm_control_panel|binary_sensor|button|climate|cover|date|datetime|event|fan|light|lock|number|select|sensor|switch|text|text_sensor|time|update|valve)'

/** ESPHome: https://esphome.io/components/mqtt/ */
export const esphome: Preset = {
  name: 'esphome',
  title: 'ESPHome',
  note: 'Names and units come from Home Assistant discovery, which ESPHome sends by default.',
  topics: [
    { topic: 'esphome/discover/{node}', is: 'ignored' },
    { topic: 'esphome/ping/{node...}', is: 'ignored' },
    {
      topic: '{node...}/debug',
      is: 'log',
      about: 'log',
      // biome-ignore lint/suspicious/noControlCharactersInRegex: ESPHome colours its log with escape codes
      looksLike: /^(?:\u001b\[[\d;]*m)?\[(?:[\d:.]+\]\[)?[EWICDV]{1,2}V?\]\[/,
    },
    { topic: `{node...}/${components}/{object}/command`, is: 'command' },
    { topic: `{node...}/${components}/{object}/{attribute}/command`, is: 'command', about: 'commands' },
    { topic: `{node...}/(text_sensor|text|select)/{object}/state`, isText: true, about: 'text' },
    { topic: `{node...}/${components}/{object}/state`, about: 'the value; `nan` while there is none' },
  ],
}
