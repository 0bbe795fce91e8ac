// What both Node.js programs share: reading their orders, printing JSON lines, waiting with a limit.

export const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

export async function orders() {
  let text = ''
  for await (const chunk of process.stdin) text += chunk
  return JSON.parse(text)
}

export function print(row) {
  process.stdout.write(JSON.stringify(row, (_, value) => (typeof value === 'bigint' ? Number(value) : value)) + '\n')
}

export const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))

export async function until(condition, milliseconds, what) {
  const end = Date.now() + milliseconds
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${milliseconds} ms: ${what()}`)
    await pause(20)
  }
}

// Every partition has exactly one owner and every member owns at least one.
export function complete(owned, partitions) {
  const all = [...owned.values()].flat()
  const everyone = [...owned.values()].every(rows => rows.length > 0)
  return everyone && all.length === partitions && new Set(all).size === partitions
}

export const sorted = owned => [...owned.values()].map(rows => [...rows].sort((a, b) => a - b))

// Runs the scenario named on the command line; an error becomes a message on standard error and exit code 1.
export async function main(scenarios) {
  const { connection, arguments: given } = await orders()
  try {
    print((await scenarios[process.argv[2]](connection, given)) ?? {})
    process.exit(0)
  } catch (error) {
    console.error(error?.stack ?? error, error?.errors ?? '')
    process.exit(1)
  }
}

// The failure a client reports, and how long it took to report it.
export async function failure(action) {
  const start = Date.now()
  try {
    await action()
    return { failed: false, seconds: (Date.now() - start) / 1000 }
  } catch (error) {
    const texts = []
    for (let at = error, depth = 0; at && depth < 8; at = at.cause ?? at.errors?.[0], depth++) {
      texts.push(`${at.name ?? ''} ${at.code ?? ''} ${at.type ?? ''} ${at.message ?? ''} ${at.apiId ?? ''}`)
    }
    return { failed: true, error: texts.join(' | '), seconds: (Date.now() - start) / 1000 }
  }
}
