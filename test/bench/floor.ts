import { createServer } from 'node:net'

/*
 * The least Node can do: finds PUBLISH packets in the bytes and acknowledges them. No sessions, no subscribers, no
 * disk. What a broker does costs the difference to this. Prints its port; ends when its parent does.
 */

const connack = Buffer.from([0x20, 2, 0, 0])

const server = createServer({ noDelay: true }, socket => {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('error', () => socket.destroy())
  socket.on('data', chunk => {
    const data = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    const answers: Buffer[] = []
    let at = 0
    while (at + 2 <= data.length) {
      let length = 0
      let head = at + 1
      let byte: number | undefined
      for (let shift = 0; ; shift += 7) {
        byte = data[head++]
        if (byte === undefined) break
        length |= (byte & 0x7f) << shift
        if (byte < 0x80) break
      }
      if (byte === undefined || head + length > data.length) break
      const type = (data[at] as number) >> 4
      if (type === 1) answers.push(connack)
      else if (type === 3) {
        const identifier = head + 2 + data.readUInt16BE(head)
        answers.push(Buffer.from([0x40, 2, data[identifier] as number, data[identifier + 1] as number]))
      }
      at = head + length
    }
    rest = at === data.length ? Buffer.alloc(0) : Buffer.from(data.subarray(at))
    if (answers.length > 0) socket.write(answers.length === 1 ? (answers[0] as Buffer) : Buffer.concat(answers))
  })
})

server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address && typeof address === 'object') process.send?.(address.port)
})
process.once('disconnect', () => process.exit(0))
