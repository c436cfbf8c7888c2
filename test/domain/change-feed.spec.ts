import { expect } from 'chai'
import { type ListHead, pageOfChanges, type SyncPosition, type Tombstone } from '#src/domain/tasks/change-feed.ts'
import type { Task } from '#src/domain/tasks/task.ts'
import { aTask } from '#test/builders.ts'

const HEAD: ListHead = { epoch: 'k3v9x2qa', revision: 9, forgotten: 0 }
const SINCE: SyncPosition = { epoch: HEAD.epoch, revision: 1 }
const MEBIBYTE = 2 ** 20
/** Bytes of a task's texts without its description. */
const REST = JSON.stringify(['Ship', '', []]).length

const tombstone = (revision: number): Tombstone => ({ id: revision, revision, deletedAt: new Date(0) })

describe('A page of changes', () => {
  const pageOf = (changes: readonly (Task | Tombstone)[], limit = 1_000) => {
    const { items, deleted, next, hasMore } = pageOfChanges(changes, HEAD, SINCE, limit)
    return { count: [items.length, deleted.length], revision: next.revision, hasMore }
  }

  it('ends at the limit if more changes follow, and otherwise at the revision of the list', () => {
    const changes = [tombstone(2), aTask({ revision: 4 }), tombstone(5)]
    expect(pageOf([])).to.deep.equal({ count: [0, 0], revision: 9, hasMore: false })
    expect(pageOf(changes, 3)).to.deep.equal({ count: [1, 2], revision: 9, hasMore: false })
    expect(pageOf(changes, 2)).to.deep.equal({ count: [1, 1], revision: 4, hasMore: true })
    expect(pageOf(changes, 1)).to.deep.equal({ count: [0, 1], revision: 2, hasMore: true })
  })

  const descriptions: Readonly<Record<string, string>> = {
    'characters of one byte': 'a'.repeat(MEBIBYTE - REST),
    'characters of two bytes': 'é'.repeat((MEBIBYTE - REST) / 2 + 1),
    'characters of four bytes': '😀'.repeat((MEBIBYTE - REST) / 4 + 1),
    'characters that JSON escapes in six bytes': '\u0001'.repeat((MEBIBYTE - REST) / 6 + 1),
  }
  for (const [name, description] of Object.entries(descriptions)) {
    it(`ends once its texts take 1 MiB: ${name}`, () => {
      const largest = aTask({ revision: 3, description })
      const smaller = aTask({ revision: 3, description: description.slice(0, -2) })
      expect(pageOf([largest, tombstone(4)])).to.deep.equal({ count: [1, 0], revision: 3, hasMore: true })
      expect(pageOf([smaller, tombstone(4)])).to.deep.equal({ count: [1, 1], revision: 9, hasMore: false })
      expect(pageOf([largest])).to.deep.equal({ count: [1, 0], revision: 9, hasMore: false })
    })
  }

  it('adds up the titles, descriptions and tags', () => {
    const half = 'a'.repeat(MEBIBYTE / 2)
    for (const [one, other] of [
      [{ title: half }, { tags: [half] }],
      [{ tags: [half] }, { description: half }],
    ]) {
      const changes = [aTask({ revision: 2, ...one }), aTask({ revision: 3, ...other }), tombstone(4)]
      expect(pageOf(changes)).to.deep.equal({ count: [2, 0], revision: 3, hasMore: true })
    }
  })
})
