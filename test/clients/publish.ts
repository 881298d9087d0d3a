/** Publishes over HTTP, as back ends do. */

export interface PublishAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: {
    readonly messages?: readonly { readonly sequence: number }[]
    readonly error?: string
    readonly message?: string
    readonly index?: number
    readonly kept?: readonly { readonly index: number; readonly sequence: number }[]
  }
}

/** Sends a request to publish: an object or array as JSON, a text or bytes as they are. */
export async function publish(
  httpUrl: string,
  given: unknown,
  headers: Readonly<Record<string, string>> = {},
  query = '',
): Promise<PublishAnswer> {
  const isRaw = typeof given === 'string' || given instanceof Uint8Array
  const response = await fetch(`${httpUrl}/api/publish${query}`, {
    method: 'POST',
    headers: { 'content-type': isRaw ? 'application/octet-stream' : 'application/json', ...headers },
    body: isRaw ? given : JSON.stringify(given),
  })
  return { status: response.status, headers: response.headers, body: (await response.json()) as PublishAnswer['body'] }
}
