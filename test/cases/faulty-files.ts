import { type Files, nodeFiles } from '../../src/disk/files.js'
import type { Random } from './packets.js'

/** A disk on which operations fail at random, in `percent` of their calls, and writes and reads are short at times. */
export class FaultyFiles implements Files {
  percent = 0
  /** The same for reads. */
  readPercent = 0
  failures = 0
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  #fault(percent = this.percent): NodeJS.ErrnoException | undefined {
    if (!this.#random.chance(percent)) return undefined
    this.failures++
    const code = this.#random.pick(['EIO', 'ENOSPC', 'EROFS'])
    return Object.assign(new Error(`${code}: made to fail`), { code })
  }

  #try(percent?: number): void {
    const fault = this.#fault(percent)
    if (fault) throw fault
  }

  /** What one call transfers of `length`. */
  #some(length: number): number {
    return this.percent > 0 && length > 1 && this.#random.chance(20) ? 1 + this.#random.below(length - 1) : length
  }

  openSync(path: string, flags: number): number {
    this.#try()
    return nodeFiles.openSync(path, flags)
  }

  closeSync(fd: number): void {
    nodeFiles.closeSync(fd)
  }

  readSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number {
    this.#try(this.readPercent)
    return nodeFiles.readSync(fd, buffer, offset, this.#some(length), position)
  }

  writeSync(fd: number, buffer: Uint8Array, offset: number, length: number, position: number): number {
    this.#try()
    return nodeFiles.writeSync(fd, buffer, offset, this.#some(length), position)
  }

  fsyncSync(fd: number): void {
    this.#try()
    nodeFiles.fsyncSync(fd)
  }

  ftruncateSync(fd: number, length: number): void {
    this.#try()
    nodeFiles.ftruncateSync(fd, length)
  }

  sizeSync(fd: number): number {
    return nodeFiles.sizeSync(fd)
  }

  close(fd: number, done: (error: Error | null) => void): void {
    nodeFiles.close(fd, done)
  }

  read(...[fd, buffer, offset, length, position, done]: Parameters<Files['read']>): void {
    const fault = this.#fault(this.readPercent)
    if (fault) setImmediate(done, fault, 0)
    else nodeFiles.read(fd, buffer, offset, this.#some(length), position, done)
  }

  write(...[fd, buffer, offset, length, position, done]: Parameters<Files['write']>): void {
    const fault = this.#fault()
    // Some of what fails may be in the file all the same.
    if (fault && this.#random.chance(50)) setImmediate(done, fault, 0)
    else
      nodeFiles.write(fd, buffer, offset, this.#some(length), position, (error, bytes) => done(fault ?? error, bytes))
  }

  fsync(fd: number, done: (error: Error | null) => void): void {
    const fault = this.#fault()
    if (fault) setImmediate(done, fault)
    else nodeFiles.fsync(fd, done)
  }

  fdatasync(fd: number, done: (error: Error | null) => void): void {
    const fault = this.#fault()
    if (fault) setImmediate(done, fault)
    else nodeFiles.fdatasync(fd, done)
  }

  ftruncate(fd: number, length: number, done: (error: Error | null) => void): void {
    const fault = this.#fault()
    if (fault) setImmediate(done, fault)
    else nodeFiles.ftruncate(fd, length, done)
  }

  listSync(dir: string): string[] {
    this.#try()
    return nodeFiles.listSync(dir)
  }

  makeDirectorySync(dir: string): void {
    this.#try()
    nodeFiles.makeDirectorySync(dir)
  }

  sizeOfSync(path: string): number | undefined {
    return nodeFiles.sizeOfSync(path)
  }

  renameSync(from: string, to: string): void {
    this.#try()
    nodeFiles.renameSync(from, to)
  }

  removeSync(path: string): void {
    this.#try()
    nodeFiles.removeSync(path)
  }
}
