/** Something that can have so much waiting that nothing more should be read. */
export interface Backpressure {
  readonly overloaded: boolean
  /** Sets what is told when the overload is over. */
  relieves(listener: ReliefListener): void
}

export interface ReliefListener {
  onRelieved(): void
}
