import { BroadcastChannel, isMainThread, threadId } from 'node:worker_threads'

/*
 * Loaded into a hub before it starts (node --expose-gc --import): on SIGUSR2 each thread collects its garbage and the
 * main thread prints what is left in use, in bytes: `heap {main thread} {others}`. What a process has of the system's
 * memory is what it once needed, garbage included; this is what it needs.
 */

const collect = (globalThis as { gc?: () => void }).gc ?? (() => {})
const channel = new BroadcastChannel('telehub-bench-collect')
channel.unref()

const used = () => {
  // The first one finds what finalizers hold.
  for (let n = 0; n < 2; n++) collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

if (isMainThread) {
  const others = new Map<number, number>()
  channel.onmessage = event => {
    const [thread, bytes] = (event as { data: readonly [number, number] }).data
    others.set(thread, bytes)
  }
  process.on('SIGUSR2', () => {
    others.clear()
    channel.postMessage('collect')
    // Long enough for threads whose turns are long.
    setTimeout(() => {
      const sum = [...others.values()].reduce((total, bytes) => total + bytes, 0)
      process.stdout.write(`heap ${used()} ${sum}\n`)
    }, 3_000)
  })
} else {
  channel.onmessage = event => {
    if ((event as { data: unknown }).data === 'collect') channel.postMessage([threadId, used()])
  }
}
