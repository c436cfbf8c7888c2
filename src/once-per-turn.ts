/**
 * Returns a function that runs the work once per turn of the event loop, however often it is called. The work runs after
 * every socket that is ready has been read; a microtask would run between two of them.
 */
export function oncePerTurn(work: () => void): () => void {
  let scheduled = false
  return () => {
    if (scheduled) return
    scheduled = true
    setImmediate(() => {
      scheduled = false
      work()
    })
  }
}
