// Scenarios with @platformatic/kafka, which speaks no old protocol versions and no two of them alike.
import { readFileSync } from 'node:fs'
import { Admin, Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { complete, failure, main, pause, print, sorted, until } from './scenario.mjs'

const options = (connection, retries = 5) => ({
  clientId: 'interop',
  bootstrapBrokers: connection.bootstrap.split(','),
  tls: connection.ca ? { ca: [readFileSync(connection.ca)] } : undefined,
  sasl: connection.user
    ? { mechanism: connection.mechanism.toUpperCase(), username: connection.user, password: connection.password }
    : undefined,
  connectTimeout: 5000,
  retries,
  retryDelay: 200
})

const producerOf = (connection, extra = {}, retries = 5) =>
  new Producer({ ...options(connection, retries), serializers: stringSerializers, autocreateTopics: false, ...extra })

const consumerOf = (connection, group) =>
  new Consumer({
    ...options(connection), groupId: group, deserializers: stringDeserializers, sessionTimeout: 6000,
    rebalanceTimeout: 6000, heartbeatInterval: 200, maxWaitTime: 200
  })

const toMessage = (topic, row) => ({
  topic,
  key: row.key ?? undefined,
  value: row.value ?? undefined,
  headers: new Map(row.headers),
  timestamp: BigInt(row.timestamp),
  partition: row.partition ?? 0
})

const fromMessage = message => ({
  key: message.key ?? null,
  value: message.value ?? null,
  headers: [...message.headers.entries()],
  timestamp: Number(message.timestamp)
})

async function produce(connection, { topic, codec = 'none', records }) {
  const producer = producerOf(connection)
  const done = await producer.send({
    acks: -1, compression: codec, messages: records.map(row => toMessage(topic, row))
  })
  await producer.close()
  return { offsets: done.offsets.map(row => Number(row.offset)) }
}

async function consume(connection, { topic, group, count }) {
  const consumer = consumerOf(connection, group)
  const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: true })
  const records = []
  for await (const message of stream) {
    records.push(fromMessage(message))
    if (records.length >= count) break
  }
  await consumer.close(true)
  return { records }
}

async function group(connection, { topic, group, partitions, sizes }) {
  const members = []
  const owned = new Map()
  const history = []
  const join = async () => {
    const consumer = consumerOf(connection, group)
    owned.set(consumer, [])
    const note = () =>
      owned.set(consumer, consumer.assignments?.find(row => row.topic === topic)?.partitions ?? [])
    consumer.on('consumer:group:join', note)
    consumer.topics.trackAll(topic)
    await consumer.joinGroup()
    note()
    members.push(consumer)
  }
  for (const size of sizes) {
    while (members.length < size) await join()
    while (members.length > size) {
      const leaving = members.pop()
      await leaving.leaveGroup()
      await leaving.close(true)
      owned.delete(leaving)
    }
    await until(() => complete(owned, partitions), 30_000, () => JSON.stringify(sorted(owned)))
    history.push(sorted(owned))
  }
  for (const consumer of members) {
    await consumer.leaveGroup()
    await consumer.close(true)
  }
  return { history }
}

async function admin(connection, { topic, group }) {
  const admin = new Admin(options(connection))
  const [created] = await admin.createTopics({
    topics: [topic], partitions: 2, replicas: 1, configs: [{ name: 'retention.ms', value: '3600000' }]
  })
  const listed = (await admin.listTopics()).includes(topic)
  await admin.createPartitions({ topics: [{ name: topic, count: 3, assignments: null }] })
  const metadata = await admin.metadata({ topics: [topic], forceUpdate: true })
  await admin.incrementalAlterConfigs({ resources: [{ resourceType: 2, resourceName: topic,
    configs: [{ name: 'retention.ms', configOperation: 0, value: '7200000' }] }] })
  const [described] = await admin.describeConfigs({
    resources: [{ resourceType: 2, resourceName: topic, configurationKeys: ['retention.ms'] }]
  })
  await produce(connection, { topic, records: ['a', 'b', 'c'].map((value, index) =>
    ({ key: null, value, headers: [], timestamp: 1_700_000_000_000 + index * 1000 })) })
  const [byTime] = await admin.listOffsets({
    topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: 1_700_000_001_000n }] }]
  })
  await admin.alterConsumerGroupOffsets({
    groupId: group, topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 2n }] }]
  })
  const [committed] = await admin.listConsumerGroupOffsets({ groups: [group] })
  const [deleted] = await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 1n }] }] })
  const groups = [...(await admin.listGroups()).keys()]
  const state = (await admin.describeGroups({ groups: [group] })).get(group).state
  await admin.deleteGroups({ groups: [group] })
  const left = [...(await admin.listGroups()).keys()]
  const acl = { resourceType: 2, resourceName: topic, resourcePatternType: 3, principal: 'User:bob', host: '*',
    operation: 3, permissionType: 3 }
  const filter = { ...acl, resourceNameFilter: topic, resourceName: topic, patternTypeFilter: 3,
    principal: null, host: null, operation: 1, permissionType: 1 }
  await admin.createAcls({ creations: [acl] })
  const acls = await admin.describeAcls({ filter })
  const removed = await admin.deleteAcls({ filters: [filter] })
  const logDirs = await admin.describeLogDirs({ topics: [{ name: topic, partitions: [0] }] })
  await admin.deleteTopics({ topics: [topic] })
  const gone = !(await admin.listTopics()).includes(topic)
  await admin.close()
  return {
    created: created.name === topic, listed, partitions: metadata.topics.get(topic).partitionsCount,
    retention: described.configs[0].value, byTime: byTime.partitions[0].offset,
    committed: committed.topics[0].partitions[0].committedOffset, low: deleted.partitions[0].lowWatermark,
    grouped: groups.includes(group), state, ungrouped: !left.includes(group), brokers: metadata.brokers.size,
    cluster: metadata.id, principals: acls.flatMap(row => row.acls.map(entry => entry.principal)),
    removed: removed.length, logDirs: logDirs.length, gone
  }
}

async function steady(connection, { topic, count }) {
  const producer = producerOf(connection, { idempotent: true }, 60)
  for (let index = 0; index < count; index += 10) {
    const messages = Array.from({ length: 10 }, (_, step) => ({ topic, value: String(index + step), partition: 0 }))
    await producer.send({ messages })
    print({ sent: index + 10 })
    await pause(2)
  }
  await producer.close()
  return { sent: count }
}

const fails = (connection, { topic }) =>
  failure(async () => {
    const producer = producerOf(connection, {}, 0)
    await producer.send({ acks: -1, messages: [{ topic, value: 'x' }] })
  })

const transaction = (connection, { id, topic }) =>
  failure(async () => {
    const producer = producerOf(connection, { transactionalId: id, idempotent: true }, 0)
    const transaction = await producer.beginTransaction()
    await transaction.send({ messages: [{ topic, value: 'x' }] })
    await transaction.commit()
  })

await main({ produce, consume, group, admin, steady, fails, transaction })
