// Scenarios with kafkajs 2. Snappy, LZ4 and Zstandard are codecs its users plug in; see its documentation.
import { readFileSync } from 'node:fs'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { lz4Compress, lz4Decompress, snappyCompress, snappyDecompress } from '@platformatic/wasm-utils'
import kafkajs from 'kafkajs'
import { complete, failure, main, pause, print, sorted, until } from './scenario.mjs'

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs
const TYPES = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])

function snappyAny(data) {
  if (!data.subarray(0, 8).equals(XERIAL)) return snappyDecompress(data)
  const parts = []
  for (let at = 16; at < data.length; ) {
    const size = data.readUInt32BE(at)
    parts.push(Buffer.from(snappyDecompress(data.subarray(at + 4, at + 4 + size))))
    at += 4 + size
  }
  return Buffer.concat(parts)
}

const plug = (compress, decompress) => () => ({
  compress: async encoder => Buffer.from(compress(encoder.buffer)),
  decompress: async data => Buffer.from(decompress(data))
})
CompressionCodecs[CompressionTypes.Snappy] = plug(snappyCompress, snappyAny)
CompressionCodecs[CompressionTypes.LZ4] = plug(lz4Compress, lz4Decompress)
CompressionCodecs[CompressionTypes.ZSTD] = plug(zstdCompressSync, zstdDecompressSync)

const client = (connection, retries = 5) =>
  new Kafka({
    clientId: 'interop',
    brokers: connection.bootstrap.split(','),
    ssl: connection.ca ? { ca: [readFileSync(connection.ca)] } : undefined,
    sasl: connection.user
      ? { mechanism: connection.mechanism, username: connection.user, password: connection.password }
      : undefined,
    logLevel: logLevel.NOTHING,
    connectionTimeout: 5000,
    retry: { retries, initialRetryTime: 100 }
  })

const toMessage = row => ({
  key: row.key,
  value: row.value,
  headers: Object.fromEntries(row.headers),
  timestamp: String(row.timestamp),
  partition: row.partition ?? 0
})

const fromMessage = message => ({
  key: message.key?.toString() ?? null,
  value: message.value?.toString() ?? null,
  headers: Object.entries(message.headers ?? {}).map(([name, value]) => [name, value?.toString() ?? null]),
  timestamp: Number(message.timestamp)
})

async function produce(connection, { topic, codec = 'none', records }) {
  const producer = client(connection).producer()
  await producer.connect()
  const done = await producer.send({ topic, acks: -1, compression: TYPES[codec], messages: records.map(toMessage) })
  await producer.disconnect()
  return { offsets: done.map(row => Number(row.baseOffset)) }
}

async function consume(connection, { topic, group, count }) {
  const consumer = client(connection).consumer({ groupId: group, sessionTimeout: 6000, maxWaitTimeInMs: 200 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const records = []
  await consumer.run({ eachMessage: async ({ message }) => records.push(fromMessage(message)) })
  await until(() => records.length >= count, 30_000, () => `${records.length} of ${count} records`)
  await consumer.disconnect()
  return { records }
}

async function group(connection, { topic, group, partitions, sizes }) {
  const members = []
  const owned = new Map()
  const history = []
  const join = async () => {
    const consumer = client(connection).consumer({
      groupId: group, sessionTimeout: 6000, rebalanceTimeout: 6000, heartbeatInterval: 200, maxWaitTimeInMs: 200
    })
    consumer.on(consumer.events.GROUP_JOIN, event =>
      owned.set(consumer, event.payload.memberAssignment[topic] ?? []))
    owned.set(consumer, [])
    await consumer.connect()
    await consumer.subscribe({ topic })
    await consumer.run({ eachMessage: async () => {} })
    members.push(consumer)
  }
  for (const size of sizes) {
    while (members.length < size) await join()
    while (members.length > size) {
      const leaving = members.pop()
      await leaving.disconnect()
      owned.delete(leaving)
    }
    await until(() => complete(owned, partitions), 30_000, () => JSON.stringify(sorted(owned)))
    history.push(sorted(owned))
  }
  for (const consumer of members) await consumer.disconnect()
  return { history }
}

async function admin(connection, { topic, group }) {
  const admin = client(connection).admin()
  await admin.connect()
  const created = await admin.createTopics({
    topics: [{ topic, numPartitions: 2, replicationFactor: 1,
      configEntries: [{ name: 'retention.ms', value: '3600000' }] }]
  })
  const listed = (await admin.listTopics()).includes(topic)
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] })
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: 2, name: topic, configEntries: [{ name: 'retention.ms', value: '7200000' }] }]
  })
  const described = await admin.describeConfigs({
    includeSynonyms: false, resources: [{ type: 2, name: topic, configNames: ['retention.ms'] }]
  })
  await produce(connection, { topic, records: ['a', 'b', 'c'].map((value, index) =>
    ({ key: null, value, headers: [], timestamp: 1_700_000_000_000 + index * 1000 })) })
  const byTime = await admin.fetchTopicOffsetsByTimestamp(topic, 1_700_000_001_000)
  await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '2' }] })
  const committed = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '1' }] })
  const offsets = await admin.fetchTopicOffsets(topic)
  const groups = (await admin.listGroups()).groups.map(row => row.groupId)
  const state = (await admin.describeGroups([group])).groups[0].state
  const cluster = await admin.describeCluster()
  await admin.deleteGroups([group])
  const left = (await admin.listGroups()).groups.map(row => row.groupId)
  const acl = {
    resourceType: 2, resourceName: topic, resourcePatternType: 3, principal: 'User:bob', host: '*', operation: 3,
    permissionType: 3
  }
  await admin.createAcls({ acl: [acl] })
  const acls = await admin.describeAcls({ resourceType: 2, resourceName: topic, resourcePatternType: 3,
    operation: 1, permissionType: 1 })
  const removed = await admin.deleteAcls({ filters: [{ resourceType: 2, resourceName: topic,
    resourcePatternType: 3, operation: 1, permissionType: 1 }] })
  await admin.deleteTopics({ topics: [topic] })
  const gone = !(await admin.listTopics()).includes(topic)
  await admin.disconnect()
  return {
    created, listed, partitions: metadata.topics[0].partitions.length,
    retention: described.resources[0].configEntries[0].configValue,
    byTime: byTime.find(row => row.partition === 0).offset,
    committed: committed[0].partitions.find(row => row.partition === 0).offset,
    low: offsets.find(row => row.partition === 0).low, high: offsets.find(row => row.partition === 0).high,
    grouped: groups.includes(group), state, ungrouped: !left.includes(group),
    brokers: cluster.brokers.length, cluster: cluster.clusterId,
    principals: acls.resources.flatMap(row => row.acls.map(entry => entry.principal)),
    removed: removed.filterResponses[0].matchingAcls.length, gone
  }
}

async function steady(connection, { topic, count }) {
  const producer = client(connection, 30).producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let index = 0; index < count; index += 10) {
    const messages = Array.from({ length: 10 }, (_, step) => ({ value: String(index + step), partition: 0 }))
    await producer.send({ topic, acks: -1, messages })
    print({ sent: index + 10 })
    await pause(2)
  }
  await producer.disconnect()
  return { sent: count }
}

const fails = (connection, { topic }) =>
  failure(async () => {
    const producer = client(connection, 1).producer({ allowAutoTopicCreation: false })
    await producer.connect()
    await producer.send({ topic, acks: -1, messages: [{ value: 'x' }] })
  })

const transaction = (connection, { id, topic }) =>
  failure(async () => {
    const producer = client(connection, 1).producer({ transactionalId: id, idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ value: 'x' }] })
    await transaction.commit()
  })

await main({ produce, consume, group, admin, steady, fails, transaction })
