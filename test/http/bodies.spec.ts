import { brotliCompressSync, constants, deflateSync, gzipSync } from 'node:zlib'
import { expect } from 'chai'
import fc from 'fast-check'
import { codeOf, describeApi, LOGIN, ME, mistakes, PASSWORD, REGISTER, TASKS, type User } from './api.ts'
import { RawConnection } from './raw-connection.ts'

const LIMIT = 1_048_576
const JSON_TYPE = { 'content-type': 'application/json' }

/** A task padded with blanks to that many bytes. */
const taskOf = (bytes: number) => '{"title":"Ship"}'.padEnd(bytes)

const compress: Readonly<Record<string, (text: string) => Buffer>> = {
  gzip: gzipSync,
  deflate: deflateSync,
  br: (text) => brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
}

describeApi('A request body', (api) => {
  let jane: User
  let path: string
  before(async () => {
    jane = await api.signUp()
    path = `${TASKS}/${(await jane.createTask()).id}`
  })

  const post = (body: string | Buffer, headers: Readonly<Record<string, string>> = JSON_TYPE) =>
    jane.raw({ method: 'POST', path: TASKS, headers, body })
  const patch = (body: string | Buffer, headers: Readonly<Record<string, string>> = JSON_TYPE) =>
    jane.raw({ method: 'PATCH', path, headers, body })
  const logIn = (body: string | Buffer, type = 'application/x-www-form-urlencoded') =>
    api.raw({ method: 'POST', path: LOGIN, headers: { 'content-type': type }, body })
  const encoded = (encoding: string) => ({ ...JSON_TYPE, 'content-encoding': encoding })

  describe('that is not JSON', () => {
    const bodies: Readonly<Record<string, string | Buffer>> = {
      'no bytes': '',
      blanks: '  \n',
      text: 'title',
      'a form': 'title=Ship',
      'a truncated object': '{"title":"Ship"',
      'two objects': '{"title":"Ship"}{}',
      'a trailing comma': '{"title":"Ship",}',
      'a comment': '{"title":"Ship"/* */}',
      'single quotes': "{'title':'Ship'}",
      'an unescaped line break in a string': '{"title":"Sh\nip"}',
      NaN: '{"title":"Ship","id":NaN}',
      'an invalid escape': '{"title":"\\x41"}',
      'a trailing NUL': '{"title":"Ship"}\0',
      'Latin-1': Buffer.from('{"title":"Caf\u00e9"}', 'latin1'),
      'an overlong UTF-8 sequence': Buffer.concat([
        Buffer.from('{"title":"'),
        Buffer.from([0xc0, 0xaf]),
        Buffer.from('"}'),
      ]),
      'a surrogate encoded in UTF-8': Buffer.concat([
        Buffer.from('{"title":"'),
        Buffer.from([0xed, 0xa0, 0x80]),
        Buffer.from('"}'),
      ]),
      'UTF-16': Buffer.from('\ufeff{"title":"Ship"}', 'utf16le'),
    }
    for (const [what, body] of Object.entries(bodies)) {
      it(`is rejected with 400: ${what}`, async () => {
        for (const answer of [await post(body), await patch(body)]) {
          expect(answer.status).to.equal(400)
          expect(codeOf(answer)).to.equal('malformed_body')
        }
      })
    }

    it('is rejected with a detail that names JSON, UTF-8 or the compression', async () => {
      const detailOf = async (...given: Parameters<typeof post>) => JSON.parse((await post(...given)).text).detail
      expect(await detailOf('{')).to.equal('The body is not valid JSON.')
      expect(await detailOf(Buffer.from([0x22, 0xff, 0x22]))).to.equal('The body is not valid UTF-8.')
      for (const encoding of Object.keys(compress))
        expect(await detailOf('{}', encoded(encoding)), encoding).to.equal('The compression of the body is broken.')
    })

    it('is rejected with 400, whatever its bytes (property-based)', async () => {
      const isJson = (bytes: Uint8Array) => {
        try {
          JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
          return true
        } catch {
          return false
        }
      }
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 24 }), async (bytes) => {
          expect((await post(Buffer.from(bytes))).status).to.equal(isJson(bytes) ? 422 : 400)
        }),
        { numRuns: 50 },
      )
    })
  })

  describe('that is JSON but not an object', () => {
    for (const body of ['[]', '[{"title":"Ship"}]', '"title"', '1', '1e999', 'true', 'null', '[[[[]]]]']) {
      it(`is rejected with 422: ${body}`, async () => {
        for (const answer of [await post(body), await patch(body), await logIn(body, 'application/json')]) {
          expect(answer.status).to.equal(422)
          expect(mistakes(answer)).to.deep.equal([': not_an_object'])
        }
      })
    }
  })

  describe('that is JSON', () => {
    it('uses the last of duplicate members', async () => {
      const answer = await post('{"title":1,"completed":true,"title":"First","title":"Last","completed":false}')
      expect(answer.status).to.equal(201)
      expect(JSON.parse(answer.text)).to.include({ title: 'Last', completed: false })
      expect(mistakes(await post('{"title":"Ship","title":null}'))).to.deep.equal(['/title: not_text'])
    })

    it('may begin with one byte order mark (RFC 8259, section 8.1)', async () => {
      expect((await post(`\ufeff${taskOf(100)}`)).status).to.equal(201)
      expect((await patch(`\ufeff{}`)).status).to.equal(200)
      expect((await post(`\ufeff\ufeff${taskOf(100)}`)).status).to.equal(400)
      expect((await post(`{"title":\ufeff"Ship"}`)).status).to.equal(400)
      const answer = await post('{"title":"\ufeffShip"}')
      expect(JSON.parse(answer.text)).to.include({ title: '\ufeffShip' })
    })

    it('is rejected for the unknown members __proto__ and constructor', async () => {
      const bodies = ['{"title":"Ship","__proto__":{"completed":true}}', '{"__proto__":null,"title":"Ship"}']
      for (const body of bodies) {
        const answer = await post(body)
        expect(answer.status).to.equal(422)
        expect(mistakes(answer)).to.deep.equal(['/__proto__: unknown'])
      }
      expect(mistakes(await patch('{"constructor":{}}'))).to.deep.equal(['/constructor: unknown'])
      expect(mistakes(await patch('{"\\u005f_proto__":{}}'))).to.deep.equal(['/__proto__: unknown'])
    })

    it('may escape surrogate pairs, but neither lone surrogates nor NUL', async () => {
      const answer = await post('{"title":"\\ud83d\\ude42 \\u0041"}')
      expect(JSON.parse(answer.text)).to.include({ title: '🙂 A' })
      expect(mistakes(await post('{"title":"\\ud83d"}'))).to.deep.equal(['/title: malformed_text'])
      expect(mistakes(await post('{"title":"\\u0000"}'))).to.deep.equal(['/title: malformed_text'])
    })

    it('is validated as usual if it nests 200,000 levels deep', async () => {
      const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`
      expect(mistakes(await post(deep))).to.deep.equal([': not_an_object'])
      expect(mistakes(await post(`{"title":${deep}}`))).to.deep.equal(['/title: not_text'])
      expect(mistakes(await post(`{"title":"Ship","other":${deep}}`))).to.deep.equal(['/other: unknown'])
    })

    it('is rejected for the first of many unknown members', async () => {
      const members = Array.from({ length: 2_000 }, (_, index) => `"x${index}":${index}`)
      const answer = await post(`{"title":"Ship",${members.join()}}`)
      expect(answer.status).to.equal(422)
      expect(mistakes(answer)).to.include('/x0: unknown')
    })
  })

  describe('limited in size', () => {
    it('has at most 1,048,576 bytes', async () => {
      expect((await post(taskOf(LIMIT))).status).to.equal(201)
      expect((await patch(taskOf(LIMIT))).status).to.equal(200)
      for (const answer of [
        await post(taskOf(LIMIT + 1)),
        await patch(taskOf(LIMIT + 1)),
        await post(taskOf(5 * LIMIT)),
      ]) {
        expect(answer.status).to.equal(413)
        expect(codeOf(answer)).to.equal('body_too_large')
      }
    })

    it('is measured in bytes, not in characters', async () => {
      const body = `{"title":"Ship","id":"${'é'.repeat(LIMIT / 2)}"}`
      expect(body).to.have.length.below(LIMIT)
      expect((await post(body)).status).to.equal(413)
    })

    it('is also measured when sent in chunks', async () => {
      const chunked = { ...JSON_TYPE, 'transfer-encoding': 'chunked' }
      expect((await post(taskOf(LIMIT), chunked)).status).to.equal(201)
      expect((await post(taskOf(LIMIT + 1), chunked)).status).to.equal(413)
    })

    it('has the same limit as a form', async () => {
      const form = `username=unknown@example.com&password=${'a'.repeat(LIMIT)}`
      expect((await logIn(form.slice(0, LIMIT))).status).to.equal(401)
      expect((await logIn(form.slice(0, LIMIT + 1))).status).to.equal(413)
    })
  })

  describe('that is compressed', () => {
    for (const [encoding, encode] of Object.entries(compress)) {
      it(`with ${encoding} is measured after decompression`, async () => {
        expect((await post(encode(taskOf(100)), encoded(encoding))).status).to.equal(201)
        expect((await post(encode(taskOf(LIMIT)), encoded(encoding))).status).to.equal(201)
        for (const body of [encode(taskOf(LIMIT + 1)), encode(taskOf(20 * LIMIT))]) {
          expect(body).to.have.length.below(LIMIT)
          const answer = await post(body, encoded(encoding))
          expect(answer.status).to.equal(413)
          expect(codeOf(answer)).to.equal('body_too_large')
        }
      })

      it(`with ${encoding} is rejected with 400 if the compressed data is corrupt`, async () => {
        const whole = encode(taskOf(5_000))
        for (const body of [taskOf(100), whole.subarray(0, whole.length / 2), whole.with(2, 0xff).fill(7, 4, 9), '']) {
          const answer = await post(Buffer.from(body), encoded(encoding))
          expect(answer.status).to.equal(400)
          expect(codeOf(answer)).to.equal('malformed_body')
        }
      })
    }

    it('may name its coding in any case (RFC 9110, section 8.4.1)', async () => {
      expect((await post(gzipSync(taskOf(100)), encoded('GZIP'))).status).to.equal(201)
    })

    it('may name its coding x-gzip, which means gzip (RFC 9110, section 8.4.1.3)', async () => {
      expect((await post(gzipSync(taskOf(100)), encoded('x-gzip'))).status).to.equal(201)
      expect((await post(gzipSync(taskOf(20 * LIMIT)), encoded('X-GZip'))).status).to.equal(413)
    })

    it('is rejected with 413 if it is too large but decompresses to nothing', async () => {
      const emptyMember = gzipSync('')
      const body = Buffer.concat(Array.from({ length: (3 * LIMIT) / emptyMember.length }, () => emptyMember))
      const chunks = { ...encoded('gzip'), 'transfer-encoding': 'chunked' }
      for (const headers of [encoded('gzip'), chunks]) expect((await post(body, headers)).status).to.equal(413)
    })

    it('may name the coding identity if it is not compressed', async () => {
      expect((await post(taskOf(100), encoded('identity'))).status).to.equal(201)
    })

    it('is rejected with 415 and Accept-Encoding for an unknown coding', async () => {
      for (const encoding of ['zstd', 'compress', 'x', 'gzip, gzip', '*', 'none']) {
        const answer = await post(taskOf(100), encoded(encoding))
        expect(answer.status, encoding).to.equal(415)
        expect(codeOf(answer)).to.equal('unsupported_media_type')
        expect(answer.headers['accept-encoding']).to.equal('gzip, deflate, br')
        expect(JSON.parse(answer.text).detail).to.include('the Accept-Encoding header')
        expect(answer.headers).to.not.have.property('accept')
      }
    })
  })

  describe('of a media type', () => {
    const task = '{"title":"Ship"}'
    const unsupported = [
      'text/plain',
      'text/json',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/jsonx',
      'application/json-patch+json',
      'application/problem+json',
      'application/vnd.api+json',
      'application/*',
      '*/*',
      'json',
      '/',
    ]
    for (const type of unsupported) {
      it(`is rejected with 415: ${type}`, async () => {
        const headers = { 'content-type': type }
        for (const answer of [await post(task, headers), await patch(task, headers)]) {
          expect(answer.status).to.equal(415)
          expect(codeOf(answer)).to.equal('unsupported_media_type')
        }
      })
    }

    it('is rejected with the supported types in Accept or Accept-Patch', async () => {
      const headers = { 'content-type': 'text/plain' }
      const [created, edited, login] = [
        await post(task, headers),
        await patch(task, headers),
        await logIn('', 'text/plain'),
      ]
      expect(created.headers.accept).to.equal('application/json')
      expect(JSON.parse(created.text).detail).to.include('the Accept header')
      expect(JSON.parse(edited.text).detail).to.include('the Accept-Patch header')
      expect(created.headers).to.not.have.any.keys('accept-patch', 'accept-encoding')
      expect(edited.headers['accept-patch']).to.equal('application/json, application/merge-patch+json')
      expect(edited.headers).to.not.have.any.keys('accept', 'accept-encoding')
      expect(login.headers.accept).to.equal('application/json, application/x-www-form-urlencoded')
    })

    it('is rejected with 415 without Content-Type', async () => {
      for (const answer of [await post(task, {}), await patch(task, {}), await post(task, { 'content-type': '' })])
        expect(answer.status).to.equal(415)
    })

    it('may spell the type in any case and add parameters', async () => {
      for (const type of ['APPLICATION/JSON', 'application/json; charset=utf-8', 'application/json;charset="UTF-8"'])
        expect((await post(task, { 'content-type': type })).status, type).to.equal(201)
    })

    it('may be a merge patch for PATCH only', async () => {
      const headers = { 'content-type': 'application/merge-patch+json' }
      expect((await patch(task, headers)).status).to.equal(200)
      expect((await post(task, headers)).status).to.equal(415)
    })

    it('may be a form for login only', async () => {
      const pair = JSON.stringify({ username: jane.email, password: PASSWORD })
      expect((await logIn(pair, 'application/json')).status).to.equal(200)
      for (const type of ['text/plain', 'multipart/form-data', 'application/merge-patch+json'])
        expect((await logIn(pair, type)).status, type).to.equal(415)
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      const answer = await api.raw({ method: 'POST', path: REGISTER, headers: form, body: 'email=a@b.c' })
      expect(answer.status).to.equal(415)
    })

    it('is rejected with 400 or 415 if it is missing', async () => {
      expect((await jane.raw({ method: 'POST', path: TASKS })).status).to.be.oneOf([400, 415])
      expect((await jane.raw({ method: 'PATCH', path })).status).to.be.oneOf([400, 415])
    })
  })

  describe('that is a form', () => {
    it('is rejected with 400 if it is not UTF-8, raw or percent-encoded', async () => {
      const bodies = ['username=%ff&password=x', 'username=a&password=%C0%AF', 'username=%ED%A0%80&password=x']
      for (const body of [...bodies, Buffer.from('username=Jos\u00e9&password=x', 'latin1')])
        expect((await logIn(body)).status, String(body)).to.equal(400)
    })

    it('is rejected with 422 for a percent-encoded NUL', async () => {
      expect(mistakes(await logIn('username=a%00&password=x'))).to.deep.equal(['/username: malformed_text'])
    })

    it('is rejected with 400 or 422 if it is empty', async () => {
      const answer = await logIn('')
      expect(answer.status).to.be.oneOf([400, 422])
    })

    it('may have unknown fields, even repeated ones (RFC 6749, section 3.2)', async () => {
      const pair = `username=${jane.email}&password=${encodeURIComponent(PASSWORD)}`
      for (const field of ['audience', 'id', '__proto__', 'constructor', 'Username', 'username[]', '']) {
        const unknown = `${encodeURIComponent(field)}=x`
        expect((await logIn(`${unknown}&${pair}&${unknown}`)).status, field).to.equal(200)
      }
    })

    it('may have each ignored OAuth field once', async () => {
      const pair = `username=${jane.email}&password=${encodeURIComponent(PASSWORD)}`
      const ignored = ['grant_type=password', 'scope=', 'client_id=x', 'client_secret=y']
      expect((await logIn([pair, ...ignored].join('&'))).status).to.equal(200)
      for (const field of ignored) {
        const answer = await logIn([pair, field, field].join('&'))
        expect(mistakes(answer)).to.deep.equal([`/${field.split('=')[0]}: repeated`])
      }
    })
  })

  describe('announced with Expect: 100-continue', () => {
    const signed = () => `Authorization: Bearer ${jane.token}`
    const requests: Readonly<Record<string, () => readonly [string, number, ...string[]]>> = {
      'if it is too large': () => [TASKS, 413, signed(), json, `Content-Length: ${LIMIT + 1}`],
      'if its media type is unsupported': () => [
        TASKS,
        415,
        signed(),
        'Content-Type: text/plain',
        'Content-Length: 100',
      ],
      'if its coding is unknown': () => [TASKS, 415, signed(), json, 'Content-Encoding: zstd', 'Content-Length: 100'],
      'if it is too large even compressed': () => [
        ...([TASKS, 413, signed(), json, 'Content-Encoding: br'] as const),
        `Content-Length: ${10 * LIMIT}`,
      ],
      'without a token': () => [TASKS, 401, json, 'Content-Length: 100'],
      'with an invalid token': () => [TASKS, 401, 'Authorization: Bearer x', json, 'Transfer-Encoding: chunked'],
      'on an unknown route': () => ['/nowhere', 404, json, 'Content-Length: 100'],
      'with a malformed Host': () => [TASKS, 400, 'Host: other', signed(), json, 'Content-Length: 100'],
    }
    const json = 'Content-Type: application/json'
    const ask = async (path: string, lines: readonly string[], version = '1.1') => {
      const connection = new RawConnection(api.url)
      const head = [`POST ${path} HTTP/${version}`, 'Host: localhost', 'Expect: 100-continue', ...lines]
      await connection.send(`${head.join('\r\n')}\r\n\r\n`)
      return connection
    }

    for (const [what, request] of Object.entries(requests)) {
      it(`is rejected without 100 Continue ${what}`, async () => {
        const [path, status, ...lines] = request()
        const connection = await ask(path, lines)
        const answer = await connection.answer()
        expect(answer?.status).to.equal(status)
        // The client may still send the body, so the server could not tell it from the next request.
        expect(answer?.headers.connection).to.equal('close')
        await connection.send('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n')
        expect(await connection.end()).to.equal('')
        connection.close()
      })
    }

    it('is requested with 100 Continue if the headers are valid', async () => {
      for (const framing of ['Content-Length: 16', 'Content-Length: 16\r\nContent-Encoding: identity']) {
        const connection = await ask(TASKS, [signed(), json, framing])
        expect(await connection.answer()).to.include({ status: 100 })
        await connection.send('{"title":"Ship"}')
        expect(await connection.answer()).to.include({ status: 201 })
        connection.close()
      }
    })

    it('gets no 100 Continue if it is empty', async () => {
      for (const framing of [['Content-Length: 0'], []]) {
        const connection = await ask(TASKS, [signed(), json, ...framing])
        expect(await connection.answer()).to.include({ status: 400 })
        connection.close()
      }
    })

    it('gets no 100 Continue over HTTP/1.0 (RFC 9110, section 10.1.1)', async () => {
      const connection = await ask(TASKS, [signed(), json, 'Content-Length: 16'], '1.0')
      await connection.send('{"title":"Ship"}')
      expect(await connection.answer()).to.include({ status: 201 })
      connection.close()
    })
  })

  it('changes nothing if it is rejected', async () => {
    const john = await api.signUp()
    const wrong = [taskOf(LIMIT + 1), '{', '[]', '{"title":""}', '{"title":"Ship","x":1}']
    for (const body of wrong) await john.raw({ method: 'POST', path: TASKS, headers: JSON_TYPE, body })
    expect(await john.listTasks()).to.deep.equal([])
  })

  it('is ignored for GET', async () => {
    const john = await api.signUp()
    expect((await john.raw({ method: 'GET', path: ME, headers: JSON_TYPE, body: '{' })).status).to.equal(200)
  })
})
