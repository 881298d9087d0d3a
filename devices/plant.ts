import type { Behaviour } from './member.js'
import { noise, round, wave } from './profiles.js'

/*
 * A plant: five lines of eight machines with thirty values each, as gateways of PLCs publish them: one JSON object a
 * machine on plant/{line}/{machine}, all machines of a line over the connection of its gateway.
 */

const machines = ['saw', 'lathe', 'mill', 'press', 'robot', 'washer', 'oven', 'packer']

/** Returns the gateways of the lines. Machine `press` of line 3 is too hot and has a fault. */
export function plant(seed: number): readonly Behaviour[] {
  return Array.from({ length: 5 }, (_, line) => gateway(`line-${line + 1}`, seed * 1_009 + line * 50))
}

function gateway(line: string, seed: number): Behaviour {
  const status = (payload: string) => ({ topic: `plant/${line}/gateway/status`, payload, retain: true })
  return {
    clientId: `plc-gateway-${line}`,
    will: status('offline'),
    intervalMs: 1_000,
    commands: [],
    birth: () => [status('online')],
    report: now =>
      machines.map((machine, i) => {
        const isHot = line === 'line-3' && machine === 'press'
        return { topic: `plant/${line}/${machine}`, payload: JSON.stringify(values(seed + i, now, isHot)) }
      }),
    obey: () => [],
    farewell: () => [status('offline')],
  }
}

function values(seed: number, now: number, isHot: boolean) {
  const around = (middle: number, swing: number, channel: number, digits = 1) =>
    round(middle + swing * wave(seed + channel, now, 600_000) + (swing / 5) * noise(seed + channel, now, 5_000), digits)
  const zones = Array.from({ length: 6 }, (_, i) => [`zone_${i + 1}_temperature`, around(180, 4, i)] as const)
  const axes = ['x', 'y', 'z'].flatMap((axis, i) => [
    [`axis_${axis}_position`, around(250, 240, 10 + i, 2)] as const,
    [`axis_${axis}_load`, around(42, 12, 20 + i)] as const,
    [`axis_${axis}_vibration`, around(1.8, 0.4, 30 + i, 2)] as const,
  ])
  return {
    time: now,
    running: !isHot,
    fault: isHot,
    speed: isHot ? 0 : around(1_450, 30, 40, 0),
    temperature: isHot ? around(120, 2, 41) : around(64, 3, 41),
    pressure: around(5.8, 0.2, 42, 2),
    flow: around(12.4, 0.8, 43),
    power: isHot ? around(400, 20, 44, 0) : around(7_600, 400, 44, 0),
    energy: round(now / 3.6e6 / 1_000, 3),
    voltage: around(400, 4, 45),
    current: around(18, 1.2, 46),
    parts: Math.floor(now / 4_200) % 100_000,
    rejects: Math.floor(now / 420_000) % 1_000,
    cycle_time: around(4.2, 0.1, 47, 2),
    oil_level: around(78, 2, 48),
    oil_temperature: around(47, 2, 49),
    ...Object.fromEntries([...zones, ...axes]),
  }
}
