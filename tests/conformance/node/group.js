// KafkaJS with a group. What the commands do is said in tests/conformance/tests/groups/mod.rs;
// every client has the same ones. KafkaJS keeps the order of headers within a name only, so that
// digests go over them sorted by name.
'use strict'

const crypto = require('node:crypto')
const fs = require('node:fs')
const { CompressionTypes, Kafka, logLevel } = require('kafkajs')

const PARTITIONS = 12
const LARGEST = (1 << 20) - 4096
const DEADLINE_MS = 60_000

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Numbers that are the same in each run (mulberry32). */
function generator(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return { chance: next, below: bound => Math.floor(next() * bound) }
}

function digest(timestamp, key, value, headers) {
  const state = crypto.createHash('sha256')
  const add = part => {
    if (part === null || part === undefined) return state.update('-')
    return state.update(`${part.length}:`).update(part)
  }
  state.update(`${timestamp};`)
  add(key)
  add(value)
  for (const name of Object.keys(headers || {}).sort()) {
    for (const content of [headers[name]].flat()) {
      add(Buffer.from(name))
      add(content)
    }
  }
  return state.digest('hex').slice(0, 32)
}

function content(random, length) {
  return random.below(2) ? crypto.randomBytes(length) : Buffer.alloc(length, 'abcdefgh')
}

function size(random) {
  const chance = random.chance()
  if (chance < 0.05) return 0
  if (chance < 0.95) return random.below(200)
  if (chance < 0.9997) return random.below(4096)
  return chance > 0.9999 ? LARGEST : random.below(LARGEST)
}

function record(random) {
  const headers = {}
  for (let left = [0, 0, 0, 1, 2, 5][random.below(6)]; left > 0; left--) {
    const name = ['trace', 'příznak'][random.below(2)]
    headers[name] = [...(headers[name] || []), content(random, random.below(30))]
  }
  // One value of a name is not a list to this client.
  for (const name of Object.keys(headers)) {
    if (headers[name].length === 1) headers[name] = headers[name][0]
  }
  const now = Date.now()
  return {
    partition: random.below(PARTITIONS),
    key: random.below(5) ? content(random, random.below(40)) : null,
    value: random.below(10) ? content(random, size(random)) : null,
    headers,
    timestamp: String([1, now, now - random.below(1_000_000_000)][random.below(3)]),
  }
}

async function produce(kafka, topic, state, count, mode) {
  const admin = kafka.admin()
  await admin.connect()
  const configEntries = [{ name: 'retention.ms', value: '-1' }]
  await admin.createTopics({
    topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1, configEntries }],
  })
  await admin.disconnect()
  const random = generator(topic.length)
  const options = mode === 'idempotent' ? { idempotent: true, maxInFlightRequests: 1 } : {}
  const producer = kafka.producer(options)
  await producer.connect()
  const lines = []
  for (let sent = 0; sent < count; ) {
    const batch = Math.min(500, count - sent)
    const messages = Array.from({ length: batch }, () => record(random))
    // The codecs that come with it.
    const half = sent < count / 2
    const compression = half ? CompressionTypes.None : CompressionTypes.GZIP
    // A batch is not split: the few large ones go alone.
    const large = messages.filter(message => message.value && message.value.length > 8192)
    const small = messages.filter(message => !large.includes(message))
    for (const group of [small, ...large.map(message => [message])]) {
      const told = await producer.send({ topic, compression, messages: group })
      const next = {}
      for (const { partition, baseOffset } of told) next[partition] = Number(baseOffset)
      for (const one of group) {
        const shown = digest(one.timestamp, one.key, one.value, one.headers)
        lines.push(`${one.partition} ${next[one.partition]++} ${shown}`)
      }
    }
    sent += batch
  }
  await producer.disconnect()
  fs.writeFileSync(state, lines.join('\n') + '\n')
  console.log(`${lines.length} records`)
}

async function until(what, holds, ...members) {
  const end = Date.now() + DEADLINE_MS
  while (!holds()) {
    for (const member of members) if (member.failure) throw member.failure
    if (Date.now() > end) throw new Error(`no ${what}`)
    await sleep(5)
  }
}

/** Members of one group in this process, and what they have read. */
class Group {
  constructor(kafka, topic, name, found) {
    Object.assign(this, { kafka, topic, name, found, slow: false, repeated: 0, seen: new Map() })
    if (!fs.existsSync(found)) return
    for (const line of fs.readFileSync(found, 'ascii').trim().split('\n')) {
      const end = line.lastIndexOf(' ')
      this.seen.set(line.slice(0, end), line.slice(end + 1))
    }
  }

  async run(wanted) {
    const before = this.seen.size
    const part = share => () => this.seen.size >= before + (wanted - before) * share
    const first = await this.start()
    await until('a quarter', part(0.25), first)
    this.slow = true
    const second = await this.start()
    const half = PARTITIONS / 2
    const halves = () => first.share === half && second.share === half
    await until('a share for the second member', halves, first, second)
    this.slow = false
    await until('half', part(0.5), first, second)
    this.slow = true
    await second.consumer.disconnect()
    await until('all partitions for the first again', () => first.share === PARTITIONS, first)
    const atLast = this.seen.size
    this.slow = false
    await until('all', part(1), first)
    await first.consumer.disconnect()
    const lines = [...this.seen].map(([place, told]) => `${place} ${told}`)
    fs.writeFileSync(this.found, lines.join('\n') + '\n')
    const { size: total } = this.seen
    const after = wanted - atLast
    console.log(`${total} records, ${this.repeated} repeated, ${after} after the last rebalance`)
  }

  async start() {
    const consumer = this.kafka.consumer({ groupId: this.name, heartbeatInterval: 300 })
    const member = { consumer, share: 0, failure: null }
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      member.share = (payload.memberAssignment[this.topic] || []).length
    })
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (!payload.restart) member.failure = payload.error
    })
    await consumer.connect()
    await consumer.subscribe({ topic: this.topic, fromBeginning: true })
    await consumer.run({
      eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
        for (const message of batch.messages) {
          if (!isRunning() || isStale()) return
          this.note(batch.partition, message)
          resolveOffset(message.offset)
          if (this.slow) {
            await sleep(2)
            await heartbeat()
          }
        }
        await heartbeat()
      },
    })
    return member
  }

  note(partition, { offset, timestamp, key, value, headers }) {
    const place = `${partition} ${offset}`
    const told = digest(timestamp, key, value, headers)
    if (this.seen.has(place)) {
      this.repeated++
      if (this.seen.get(place) !== told) throw new Error(`read twice, differently: ${place}`)
    }
    this.seen.set(place, told)
  }
}

/** Seeks to the middle of each partition, then so far that the offset has to be reset. */
async function seek(kafka, topic) {
  const consumer = kafka.consumer({ groupId: `${topic}-seek`, heartbeatInterval: 300 })
  const next = new Map()
  const wanted = new Map()
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      if (Number(message.offset) === wanted.get(partition)) next.set(partition, message.offset)
    },
  })
  const all = async (offset, expected) => {
    next.clear()
    for (let partition = 0; partition < PARTITIONS; partition++) {
      wanted.set(partition, expected)
      consumer.seek({ topic, partition, offset: String(offset) })
    }
    await until(`offset ${offset} in all partitions`, () => next.size === PARTITIONS, {})
  }
  await all(1000, 1000)
  await all(1_000_000_000, 0)
  await consumer.disconnect()
  console.log('sought')
}

async function main([command, address, topic, ...rest]) {
  const kafka = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING })
  const [first, second, third] = rest
  if (command === 'produce') await produce(kafka, topic, first, Number(second), third)
  else if (command === 'group') await new Group(kafka, topic, first, second).run(Number(third))
  else if (command === 'seek') await seek(kafka, topic)
  else throw new Error(`unknown command ${command}`)
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  error => {
    console.error(error)
    process.exit(1)
  },
)
