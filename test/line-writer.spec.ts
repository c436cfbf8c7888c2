import { expect } from 'chai'
import fc from 'fast-check'
import { LineWriter } from '#src/line-writer.ts'

/** A file on a disk with room for a limited number of bytes. */
class Disk {
  content = ''
  room = Number.POSITIVE_INFINITY
  code = 'ENOSPC'
  readonly writer = new LineWriter(
    (bytes) => {
      if (this.room === 0) throw Object.assign(new Error(this.code), { code: this.code })
      const part = bytes.subarray(0, this.room)
      this.room -= part.length
      this.content += part.toString('latin1')
      return part.length
    },
    (lost) => `lost ${lost}\n`,
  )
}

describe('The writer of log lines', () => {
  it('writes lines unchanged', () => {
    const disk = new Disk()
    disk.writer.write('one\n')
    disk.writer.write('two\nthree\n')
    expect(disk.content).to.equal('one\ntwo\nthree\n')
  })

  for (const code of ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO', 'EPIPE', 'EBADF']) {
    it(`drops lines while it cannot write (${code}), and then reports how many`, () => {
      const disk = new Disk()
      disk.code = code
      disk.writer.write('one\n')
      disk.room = 0
      disk.writer.write('two\nthree\n')
      disk.writer.write('four\n')
      disk.room = Number.POSITIVE_INFINITY
      disk.writer.write('five\n')
      disk.writer.write('six\n')
      expect(disk.content).to.equal('one\nlost 3\nfive\nsix\n')
    })
  }

  it('completes a cut line before it writes another', () => {
    const disk = new Disk()
    disk.room = 6
    disk.writer.write('one\ntwo\nthree\n')
    expect(disk.content).to.equal('one\ntw')
    disk.writer.write('four\n')
    disk.room = Number.POSITIVE_INFINITY
    disk.writer.write('five\n')
    expect(disk.content).to.equal('one\ntwo\nlost 2\nfive\n')
  })

  it('reports the number of dropped lines at the end if no line follows', () => {
    const disk = new Disk()
    disk.room = 0
    disk.writer.write('one\n')
    disk.room = Number.POSITIVE_INFINITY
    disk.writer.write('')
    disk.writer.write('')
    expect(disk.content).to.equal('lost 1\n')
  })

  it('waits for a full pipe and loses nothing', () => {
    let refusals = 3
    const written: string[] = []
    const writer = new LineWriter(
      (bytes) => {
        if (refusals-- > 0) throw Object.assign(new Error('again'), { code: 'EAGAIN' })
        written.push(bytes.toString())
        return bytes.length
      },
      () => '',
    )
    writer.write('one\ntwo\n')
    expect(written).to.deep.equal(['one\ntwo\n'])
    expect(refusals).to.equal(-1)
  })

  it('writes each line whole or counts it, whenever space runs out and returns (property-based)', () => {
    const step = fc.record({
      room: fc.nat(30),
      lines: fc.array(fc.constantFrom('a', 'bb', 'ééé', 'dddddddd'), { maxLength: 4 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const disk = new Disk()
        let lineCount = 0
        for (const { room, lines } of steps) {
          disk.room = room
          disk.writer.write(lines.map((line) => `${line}\n`).join(''))
          lineCount += lines.length
        }
        disk.room = Number.POSITIVE_INFINITY
        disk.writer.write('')
        const written = Buffer.from(disk.content, 'latin1').toString().split('\n').slice(0, -1)
        const lost = written.flatMap((line) => /^lost (\d+)$/.exec(line)?.[1] ?? [])
        const whole = written.filter((line) => /^(?:a|bb|ééé|dddddddd)$/.test(line))
        expect(whole.length + lost.length).to.equal(written.length)
        expect(whole.length + lost.reduce((sum, count) => sum + Number(count), 0)).to.equal(lineCount)
      }),
      { numRuns: 2_000 },
    )
  })
})
