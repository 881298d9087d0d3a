declare module 'websocket-stream' {
  import type { Duplex } from 'node:stream'
  export default function websocketStream(url: string, protocols: readonly string[]): Duplex
}
