// What a program here and the test that runs it tell each other: one JSON object a line, on stdin and stdout.
import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

export async function hear() {
  const { value, done } = await lines.next()
  if (done) throw new Error('the test has gone')
  return JSON.parse(value)
}

export function tell(message) {
  console.log(JSON.stringify(message))
}
