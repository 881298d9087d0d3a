const message = '{"topic":"home/kitchen/thermostat/telemetry","payload":{"temperature":21.5}}'

/**
 * Returns a command that publishes a first reading. The address is that of this page, which the reader has just
 * reached, so that neither port nor TLS can be wrong. `needsKey`: whether the hub asks for a login; KEY then stands for
 * an API key of `telehub user key add`.
 */
export function snippetFor(origin: string, needsKey: boolean): string {
  const login = needsKey ? " -H 'Authorization: Bearer KEY'" : ''
  return `curl ${origin}/api/publish${login} -H 'Content-Type: application/json' -d '${message}'`
}
