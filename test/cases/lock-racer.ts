import { DataDirLock } from '../../src/lock.js'

/*
 * A process that tries to lock each folder given, all of them at moments that its rivals know too. Prints the indexes of
 * those it got, and holds them until it is killed.
 */
const [, , begin = '0', everyMs = '0', ...dirs] = process.argv
const held: number[] = []
for (const [i, dir] of dirs.entries()) {
  const at = Number(begin) + i * Number(everyMs)
  while (Date.now() < at - 2) await new Promise(resolve => setTimeout(resolve, 1))
  // To the moment: the others do the same.
  while (Date.now() < at);
  const lock = new DataDirLock({ dir, warn: () => {}, lost: () => {} })
  try {
    await lock.start()
    held.push(i)
  } catch {
    // Another one has it.
  }
}
process.stdout.write(`${JSON.stringify(held)}\n`)
setInterval(() => {}, 1_000)
