import { aiOnTheEdge, dsmrReader, emsEsp, evcc, openDtu, solarAssistant, teslaMate, victron } from './energy.js'
import { esphome } from './esphome.js'
import {
  frigate,
  homie,
  kepware,
  openMqttGateway,
  openWb,
  ownTracks,
  rtl433,
  thingsBoard,
  valetudo,
  wled,
  zwaveJsUi,
} from './home.js'
import { homeAssistantDiscovery, homeAssistantStatestream } from './home-assistant.js'
import { chirpStack, meshtastic, theThingsStack } from './lorawan.js'
import type { Preset } from './preset.js'
import { shelly1, shelly2 } from './shelly.js'
import { tasmota } from './tasmota.js'
import { zigbee2mqtt } from './zigbee2mqtt.js'

/** All presets, in the order in which they are asked: those with sure topics before those that any topic could match. */
export const allPresets: readonly Preset[] = [
  zigbee2mqtt,
  tasmota,
  shelly1,
  openDtu,
  evcc,
  victron,
  theThingsStack,
  chirpStack,
  ownTracks,
  rtl433,
  frigate,
  wled,
  dsmrReader,
  teslaMate,
  solarAssistant,
  emsEsp,
  meshtastic,
  zwaveJsUi,
  valetudo,
  homie,
  openWb,
  kepware,
  thingsBoard,
  homeAssistantDiscovery,
  openMqttGateway,
  shelly2,
  esphome,
  homeAssistantStatestream,
  aiOnTheEdge,
]
