import { describe } from '../errors.js'

/**
 * A part of the hub that runs. Constructors do nothing; `start` may fail; `stop` is safe to call once after `start`.
 */
export interface Part {
  readonly name: string
  start(): Promise<void> | void
  stop(): Promise<void> | void
}

/**
 * Starts parts from first to last. When one fails, the parts already started are stopped in reverse and the error is
 * thrown. The returned function stops all parts in reverse. Each stop may take what is left of `timeoutMs`, and is then
 * no longer awaited. The function resolves with a sentence for each part that failed to stop or was too late.
 */
export async function startParts(parts: readonly Part[]): Promise<(timeoutMs: number) => Promise<string[]>> {
  const started: Part[] = []
  let stopping: Promise<string[]> | undefined
  const stop = (timeoutMs: number) => (stopping ??= stopParts(started, timeoutMs))
  for (const part of parts) {
    try {
      await part.start()
      started.push(part)
    } catch (error) {
      await stop(5_000)
      throw error
    }
  }
  return stop
}

/**
 * Returns one part made of parts that start at the same time, begun in this order. When one fails, the others are stopped
 * once they have started. They are stopped one after the other, in this order.
 */
export function together(name: string, parts: readonly Part[]): Part {
  return {
    name,
    start: async () => {
      const starts = await Promise.allSettled(parts.map(async part => part.start()))
      const failed = starts.find(start => start.status === 'rejected')
      if (!failed) return
      for (const [i, part] of parts.entries()) if (starts[i]?.status === 'fulfilled') await part.stop()
      throw failed.reason
    },
    stop: async () => {
      const problems: string[] = []
      for (const part of parts) {
        try {
          await part.stop()
        } catch (error) {
          problems.push(describe(error))
        }
      }
      if (problems.length > 0) throw new Error(problems.join('; '))
    },
  }
}

async function stopParts(started: readonly Part[], timeoutMs: number): Promise<string[]> {
  const deadline = performance.now() + timeoutMs
  const problems: string[] = []
  for (const part of [...started].reverse()) {
    const left = Math.max(100, deadline - performance.now())
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<string>(resolve => {
      timer = setTimeout(resolve, left, `${part.name} did not stop within ${Math.round(left)} ms`)
    })
    const stopped = (async () => part.stop())().then(
      () => undefined,
      error => `${part.name}: ${describe(error)}`,
    )
    const problem = await Promise.race([stopped, late])
    clearTimeout(timer)
    if (problem) problems.push(problem)
  }
  return problems
}
