declare module 'aedes-persistence/abstract.js' {
  /** Calls `test` for each of its cases. */
  export default function abstractPersistence(options: {
    readonly test: (name: string, run: (t: object) => Promise<void>) => void
    readonly persistence: () => Promise<object>
    readonly testAsync: boolean
  }): void
}
