/** Keeps the first of the values that are added, at most `capacity`: a binary heap with the last of them on top. */
export class BoundedHeap<Value> {
  readonly #capacity: number
  readonly #compare: (one: Value, other: Value) => number
  readonly #values: Value[] = []

  /** @param compare negative when `one` comes first */
  constructor(capacity: number, compare: (one: Value, other: Value) => number) {
    this.#capacity = capacity
    this.#compare = compare
  }

  get size(): number {
    return this.#values.length
  }

  get isFull(): boolean {
    return this.size >= this.#capacity
  }

  /** Takes a number of comparisons that is logarithmic in the size. */
  add(value: Value): void {
    if (!this.isFull) this.#rise(value, this.#values.push(value) - 1)
    else if (this.#compare(value, this.#values[0] as Value) < 0) this.#sink(value)
  }

  /** Removes the last value and returns it. */
  takeLast(): Value | undefined {
    const [last] = this.#values
    const moved = this.#values.pop()
    if (moved !== undefined && this.size > 0) this.#sink(moved)
    return last
  }

  #rise(value: Value, from: number): void {
    const values = this.#values
    let index = from
    while (index > 0) {
      const parent = (index - 1) >>> 1
      if (this.#compare(values[parent] as Value, value) >= 0) break
      values[index] = values[parent] as Value
      index = parent
    }
    values[index] = value
  }

  /** Replaces the value on top. */
  #sink(value: Value): void {
    const values = this.#values
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= this.size) break
      if (child + 1 < this.size && this.#compare(values[child + 1] as Value, values[child] as Value) > 0) child++
      if (this.#compare(values[child] as Value, value) <= 0) break
      values[index] = values[child] as Value
      index = child
    }
    values[index] = value
  }
}
