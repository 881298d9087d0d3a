import { type Answer, encodeJson, type Json } from '../../contract/contract.js'
import type { ReadingRetention } from './retention.js'

/** Most days that an answer tells of. */
const mostDays = 400

/** Answers with what the store has and will need, with times in milliseconds. */
export async function storeAnswer(
  retention: Pick<ReadingRetention, 'report'>,
  keep: string | undefined,
): Promise<Json<Answer<'GET /api/store'>>> {
  const { kind, keep: used, limit, size, rolledUp, tiers, dropped, held, forecast } = await retention.report(keep)
  return encodeJson({
    kind,
    keep: used,
    limit,
    ...(size && { bytes: size.bytes, used: size.used, diskFree: size.diskFree }),
    ...(held !== undefined && { held }),
    ...(rolledUp && {
      rolledUp: {
        ...(rolledUp.until !== undefined && { until: rolledUp.until / 1_000 }),
        ...{ behind: rolledUp.behind / 1_000, waiting: rolledUp.waiting },
      },
    }),
    tables: tiers.map(({ tier, rows, bytes, bytesPerRow, classes, oldest, newest }) => {
      const perDay = classes.reduce((sum, one) => sum + one.perDay, 0)
      return {
        ...{ tier, rows, bytes, perDay, bytesPerDay: perDay * bytesPerRow },
        ...(oldest !== undefined && { oldest: oldest / 1_000 }),
        ...(newest !== undefined && { newest: newest / 1_000 }),
      }
    }),
    ...(forecast && {
      forecast: {
        at: [...forecast.at],
        ...(forecast.most !== undefined && { most: forecast.most }),
        ...(forecast.fullInDays !== undefined && { fullInDays: forecast.fullInDays }),
      },
    }),
    deleted: dropped.slice(0, mostDays).map(({ tier, why, day, readings, series, first, last }) => ({
      ...{ tier, why, readings, series },
      ...{ day: day / 1_000, from: first / 1_000, to: last / 1_000 },
    })),
  })
}
