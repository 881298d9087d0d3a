import { freePort, program, type RunningProcess, startProcess, tempDir } from './service.js'

/** A real VictoriaMetrics on a free port in a temporary folder, installed with apt-get when we are root. */
export async function startVictoriaMetrics(): Promise<{ readonly url: string; readonly server: RunningProcess }> {
  const command = await program('victoria-metrics', 'victoria-metrics')
  const cwd = await tempDir()
  const port = await freePort()
  const args = [`-storageDataPath=${cwd}/data`, `-httpListenAddr=127.0.0.1:${port}`]
  const server = await startProcess({ command, args, cwd, port, timeoutMs: 60_000 })
  return { url: `http://127.0.0.1:${port}`, server }
}
