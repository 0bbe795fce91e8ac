// Scenarios with the Java client: reads {connection, arguments} from standard input, prints JSON lines.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.FileReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class InteropClient {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration POLL = Duration.ofMillis(100);
    private static final long SCENARIO_MS_MAX = 40_000;

    private final String propertiesPath;
    private final JsonNode arguments;

    private InteropClient(JsonNode orders) {
        propertiesPath = orders.get("connection").get("properties").asText();
        arguments = orders.get("arguments");
    }

    public static void main(String[] names) throws Exception {
        InteropClient client = new InteropClient(JSON.readTree(System.in));
        Map<String, Object> result = switch (names[0]) {
            case "produce" -> client.produce();
            case "consume" -> client.consume();
            case "group" -> client.group();
            case "admin" -> client.admin();
            case "steady" -> client.steady();
            case "fails" -> client.fails();
            case "transaction" -> client.transaction();
            default -> throw new IllegalArgumentException(names[0]);
        };
        print(result);
        System.exit(0);
    }

    private static void print(Map<String, ?> row) throws Exception {
        System.out.println(JSON.writeValueAsString(row));
    }

    private String text(String name) {
        return arguments.get(name).asText();
    }

    private Properties properties(Map<String, ?> extra) throws Exception {
        Properties all = new Properties();
        try (FileReader reader = new FileReader(propertiesPath, StandardCharsets.UTF_8)) {
            all.load(reader);
        }
        extra.forEach((name, value) -> all.put(name, String.valueOf(value)));
        return all;
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, ?> extra) throws Exception {
        Properties all = properties(Map.of("acks", "all", "max.block.ms", "10000", "delivery.timeout.ms", "30000",
                "request.timeout.ms", "10000", "linger.ms", "5"));
        extra.forEach((name, value) -> all.put(name, String.valueOf(value)));
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(String group, Map<String, ?> extra) throws Exception {
        Properties all = properties(Map.of("group.id", group, "auto.offset.reset", "earliest",
                "session.timeout.ms", "6000", "heartbeat.interval.ms", "200", "fetch.max.wait.ms", "200",
                "group.protocol", "classic"));
        extra.forEach((name, value) -> all.put(name, String.valueOf(value)));
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static byte[] bytes(JsonNode node) {
        return node == null || node.isNull() ? null : node.asText().getBytes(StandardCharsets.UTF_8);
    }

    private static String string(byte[] value) {
        return value == null ? null : new String(value, StandardCharsets.UTF_8);
    }

    private Map<String, Object> produce() throws Exception {
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", text("codec")))) {
            for (JsonNode row : arguments.get("records")) {
                RecordHeaders headers = new RecordHeaders();
                row.get("headers").forEach(pair -> headers.add(pair.get(0).asText(), bytes(pair.get(1))));
                answers.add(producer.send(new ProducerRecord<>(text("topic"), 0, row.get("timestamp").asLong(),
                        bytes(row.get("key")), bytes(row.get("value")), headers)));
            }
        }
        List<Long> offsets = new ArrayList<>();
        for (Future<RecordMetadata> answer : answers) {
            offsets.add(answer.get().offset());
        }
        return Map.of("offsets", offsets);
    }

    private Map<String, Object> consume() throws Exception {
        int count = arguments.get("count").asInt();
        List<Map<String, Object>> rows = new ArrayList<>();
        long end = System.currentTimeMillis() + SCENARIO_MS_MAX;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(text("group"), Map.of())) {
            consumer.subscribe(List.of(text("topic")));
            while (rows.size() < count && System.currentTimeMillis() < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                    rows.add(row(record));
                }
            }
            consumer.commitSync();
        }
        return Map.of("records", rows);
    }

    private static Map<String, Object> row(ConsumerRecord<byte[], byte[]> record) {
        List<List<String>> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            List<String> pair = new ArrayList<>();
            pair.add(header.key());
            pair.add(string(header.value()));
            headers.add(pair);
        }
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("key", string(record.key()));
        row.put("value", string(record.value()));
        row.put("headers", headers);
        row.put("timestamp", record.timestamp());
        return row;
    }

    private Map<String, Object> group() throws Exception {
        int partitions = arguments.get("partitions").asInt();
        Map<String, ?> assignor = Map.of("partition.assignment.strategy",
                "org.apache.kafka.clients.consumer." + text("assignor"));
        List<KafkaConsumer<byte[], byte[]>> members = new ArrayList<>();
        List<List<List<Integer>>> history = new ArrayList<>();
        for (JsonNode size : arguments.get("sizes")) {
            while (members.size() < size.asInt()) {
                KafkaConsumer<byte[], byte[]> member = consumer(text("group"), assignor);
                member.subscribe(List.of(text("topic")));
                members.add(member);
            }
            while (members.size() > size.asInt()) {
                members.remove(members.size() - 1).close();
            }
            history.add(settle(members, partitions));
        }
        for (KafkaConsumer<byte[], byte[]> member : members) {
            member.close();
        }
        return Map.of("history", history);
    }

    private static List<List<Integer>> settle(List<KafkaConsumer<byte[], byte[]>> members, int partitions) {
        long end = System.currentTimeMillis() + SCENARIO_MS_MAX;
        while (System.currentTimeMillis() < end) {
            members.forEach(member -> member.poll(Duration.ofMillis(20)));
            List<List<Integer>> owned = new ArrayList<>();
            Set<Integer> all = new HashSet<>();
            int total = 0;
            boolean everyone = true;
            for (KafkaConsumer<byte[], byte[]> member : members) {
                List<Integer> rows = new ArrayList<>(member.assignment().stream().map(TopicPartition::partition)
                        .sorted().toList());
                owned.add(rows);
                all.addAll(rows);
                total += rows.size();
                everyone &= !rows.isEmpty();
            }
            if (everyone && total == partitions && all.size() == partitions) {
                return owned;
            }
        }
        throw new IllegalStateException("the group did not settle");
    }

    private Map<String, Object> admin() throws Exception {
        Map<String, Object> result = new LinkedHashMap<>();
        String topic = text("topic");
        try (Admin admin = Admin.create(properties(Map.of()))) {
            topics(admin, topic, result);
            offsets(admin, topic, result);
            security(admin, topic, result);
            result.put("cluster", admin.describeCluster().clusterId().get());
            result.put("brokers", admin.describeCluster().nodes().get().size());
            int node = admin.describeCluster().nodes().get().iterator().next().id();
            result.put("logDirs", admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node).values()
                    .stream().anyMatch(row -> row.replicaInfos().containsKey(new TopicPartition(topic, 0))));
            admin.deleteTopics(List.of(topic)).all().get();
            result.put("gone", !admin.listTopics().names().get().contains(topic));
        }
        return result;
    }

    private void topics(Admin admin, String topic, Map<String, Object> result) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1).configs(Map.of("retention.ms", "3600000"))))
                .all().get();
        result.put("listed", admin.listTopics().names().get().contains(topic));
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
        result.put("partitions", admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)
                .partitions().size());
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Collection<AlterConfigOp> change = List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "7200000"),
                AlterConfigOp.OpType.SET));
        admin.incrementalAlterConfigs(Map.of(resource, change)).all().get();
        result.put("retention", admin.describeConfigs(List.of(resource)).all().get().get(resource)
                .get("retention.ms").value());
    }

    private void offsets(Admin admin, String topic, Map<String, Object> result) throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int index = 0; index < 3; index++) {
                producer.send(new ProducerRecord<>(topic, 0, 1_700_000_000_000L + index * 1000, null,
                        new byte[] {(byte) ('a' + index)})).get();
            }
        }
        for (Map.Entry<String, OffsetSpec> entry : Map.of("byTime", OffsetSpec.forTimestamp(1_700_000_001_000L),
                "high", OffsetSpec.latest(), "maxTimestamp", OffsetSpec.maxTimestamp()).entrySet()) {
            result.put(entry.getKey(), admin.listOffsets(Map.of(partition, entry.getValue())).all().get()
                    .get(partition).offset());
        }
        String group = text("group");
        admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(2, "noted"))).all().get();
        OffsetAndMetadata committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get()
                .get(partition);
        result.put("committed", committed.offset());
        result.put("metadata", committed.metadata());
        result.put("low", admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(1))).lowWatermarks()
                .get(partition).get().lowWatermark());
        result.put("grouped", admin.listGroups().all().get().stream()
                .anyMatch(row -> row.groupId().equals(group)));
        result.put("state", admin.describeConsumerGroups(List.of(group)).all().get().get(group).groupState()
                .toString());
        admin.deleteConsumerGroups(List.of(group)).all().get();
        result.put("ungrouped", admin.listGroups().all().get().stream()
                .noneMatch(row -> row.groupId().equals(group)));
    }

    private void security(Admin admin, String topic, Map<String, Object> result) throws Exception {
        AclBinding binding = new AclBinding(new ResourcePattern(ResourceType.TOPIC, topic, PatternType.LITERAL),
                new AccessControlEntry("User:bob", "*", AclOperation.READ, AclPermissionType.ALLOW));
        admin.createAcls(List.of(binding)).all().get();
        result.put("principals", admin.describeAcls(binding.toFilter()).values().get().stream()
                .map(row -> row.entry().principal()).toList());
        result.put("removed", admin.deleteAcls(List.of(binding.toFilter())).all().get().size());
        ScramCredentialInfo info = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192);
        String name = "java-" + topic;
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(name, info, "secret"))).all().get();
        result.put("iterations", admin.describeUserScramCredentials(List.of(name)).all().get().get(name)
                .credentialInfos().get(0).iterations());
        admin.alterUserScramCredentials(List.of(new UserScramCredentialDeletion(name,
                ScramMechanism.SCRAM_SHA_512))).all().get();
    }

    private Map<String, Object> steady() throws Exception {
        int count = arguments.get("count").asInt();
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("enable.idempotence", "true",
                "delivery.timeout.ms", "50000"))) {
            for (int index = 0; index < count; index++) {
                answers.add(producer.send(new ProducerRecord<>(text("topic"), 0, null,
                        String.valueOf(index).getBytes(StandardCharsets.UTF_8))));
                if (index % 10 == 9) {
                    print(Map.of("sent", index + 1));
                    Thread.sleep(2);
                }
            }
        }
        for (Future<RecordMetadata> answer : answers) {
            answer.get();
        }
        return Map.of("sent", count);
    }

    private Map<String, Object> fails() throws Exception {
        return failure(() -> {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("delivery.timeout.ms", "11000"))) {
                producer.send(new ProducerRecord<>(text("topic"), new byte[] {1})).get();
            }
        });
    }

    private Map<String, Object> transaction() throws Exception {
        return failure(() -> {
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("transactional.id", text("id")))) {
                producer.initTransactions();
            }
        });
    }

    private interface Action {
        void run() throws Exception;
    }

    private static Map<String, Object> failure(Action action) {
        long start = System.nanoTime();
        Throwable error = null;
        try {
            action.run();
        } catch (ExecutionException wrapped) {
            error = wrapped.getCause();
        } catch (Exception direct) {
            error = direct;
        }
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("failed", error != null);
        result.put("error", error == null ? null : error.getClass().getSimpleName() + ": " + error.getMessage());
        result.put("seconds", (System.nanoTime() - start) / 1e9);
        return result;
    }
}
