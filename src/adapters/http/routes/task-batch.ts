import * as v from 'valibot'
import { wholeNumber } from '../../../domain/rules.ts'
import type { ManageTasks } from '../../../domain/tasks/manage-tasks.ts'
import { MAX_OPERATIONS, type Operation } from '../../../domain/tasks/operation.ts'
import { scope } from '../endpoint/access.ts'
import { JSON_TYPE } from '../endpoint/body.ts'
import type { Endpoint } from '../endpoint/endpoint.ts'
import { repeatableEndpoint } from '../endpoint/idempotency.ts'
import { bodyOf, listOf, oneOfKinds, ruleSchema } from '../endpoint/validation.ts'
import { newTask, present, TASK_EXAMPLE, taskChanges, taskSchema } from './tasks.ts'

const id = ruleSchema<number>(wholeNumber(1, Number.MAX_SAFE_INTEGER), { type: 'integer', minimum: 1, examples: [1] })
const if_revision = v.exactOptional(
  ruleSchema<number>(wholeNumber(0, Number.MAX_SAFE_INTEGER), {
    type: 'integer',
    minimum: 0,
    description: 'The revision that the task must have.',
    examples: [1],
  }),
)

const operation = oneOfKinds('op', [
  bodyOf('CreateOperation', [], { op: v.literal('create'), task: newTask }),
  bodyOf('UpdateOperation', [], { op: v.literal('update'), id, if_revision, task: taskChanges }),
  bodyOf('DeleteOperation', [], { op: v.literal('delete'), id, if_revision }),
])

const exampleOperations = [
  { op: 'create', task: { title: 'Ship the release' } },
  { op: 'update', id: 1, if_revision: 1, task: { completed: true } },
]
const batch = bodyOf('Batch', [], {
  operations: listOf(operation, { min: 1, max: MAX_OPERATIONS }, { examples: [exampleOperations] }),
})

const batchResults = v.pipe(
  v.object({ results: v.array(v.nullable(taskSchema)) }),
  v.metadata({ title: 'BatchResults', examples: [{ results: [{ ...TASK_EXAMPLE, id: 2 }, TASK_EXAMPLE] }] }),
)

const toOperation = (given: v.InferOutput<typeof operation>): Operation => {
  if (given.op === 'create') return given
  const { if_revision: revision, ...others } = given
  return revision === undefined ? others : { ...others, precondition: { match: [revision] } }
}

export function taskBatchEndpoint(prefix: string, tasks: ManageTasks): Endpoint {
  return repeatableEndpoint({
    method: 'POST',
    path: `${prefix}/tasks/batch`,
    operationId: 'batchTasks',
    tag: 'Tasks',
    summary: 'Create, update and delete several tasks at once',
    description: `Carries out 1 to ${MAX_OPERATIONS} operations in one transaction: all of them, or none. \`if_revision\` is the \`If-Match\` of one operation. Each operation counts as a request against the rate limit.`,
    access: scope('tasks:write'),
    body: { types: [JSON_TYPE], schema: batch },
    countOf: ({ operations }) => operations.length,
    responses: {
      200: {
        description: 'The stored task of each operation, in order; null for a deletion.',
        schema: batchResults,
      },
    },
    errors: ['task_not_found', 'task_limit_reached', 'revision_mismatch', 'outcome_unknown'],
    async handle({ caller, body, key }) {
      const { result, replayed } = await tasks.batch(caller.user.id, body.operations.map(toOperation), key)
      return { status: 200, body: { results: result.map((task) => (task ? present(task) : null)) }, replayed }
    },
  })
}
