import type { en } from './en.js'
import { say } from './words.js'

/** Remedies for dead letters, by reason. */
const remedies: Readonly<Record<string, keyof typeof en>> = {
  bad_json: 'do.bad_json',
  ...{ bad_batch: 'do.broken', bad_cbor: 'do.broken', bad_line: 'do.broken', bad_msgpack: 'do.broken' },
  ...{ bad_protobuf: 'do.broken', bad_senml: 'do.broken', bad_zlib: 'do.broken' },
  ...{ not_utf8: 'do.not_utf8', no_reading: 'do.no_reading', no_time: 'do.no_time', bad_value: 'do.bad_value' },
  ...{ type_conflict: 'do.type', not_of_type: 'do.type' },
  ...{ beyond_retention: 'do.old', too_old: 'do.old' },
  ...{ too_deep: 'do.large', too_many_fields: 'do.large' },
  ...{ too_many_series: 'do.series', series_limit: 'do.series' },
  ...{ no_birth: 'do.no_birth', poison: 'do.poison', store_refused: 'do.store_refused' },
}

/** Returns one sentence of what to do about dead letters of a reason. */
export function remedyText(reason: string): string {
  return say((Object.hasOwn(remedies, reason) ? remedies[reason] : undefined) ?? 'do.other')
}
