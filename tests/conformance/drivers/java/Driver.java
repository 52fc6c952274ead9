import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Apache Kafka's own Java clients. One JSON command per input line, one JSON reply per output line; the commands are
 * in tests/conformance/README.md.
 */
public final class Driver {
    private static final int TIMEOUT_MS = 20_000;
    private static final ObjectMapper JSON = new ObjectMapper();
    private final String bootstrap;
    private final Admin admin;

    private Driver(String bootstrap) {
        this.bootstrap = bootstrap;
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("default.api.timeout.ms", TIMEOUT_MS);
        settings.put("request.timeout.ms", TIMEOUT_MS / 2);
        this.admin = Admin.create(settings);
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream replies = System.out;
        System.setOut(System.err);
        Driver driver = new Driver(arguments[0]);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            Object reply;
            try {
                reply = driver.run(JSON.readTree(line));
            } catch (ExecutionException error) {
                reply = Map.of("error", String.valueOf(error.getCause()));
            } catch (Exception error) {
                reply = Map.of("error", String.valueOf(error));
            }
            replies.println(JSON.writeValueAsString(reply));
            replies.flush();
        }
        System.exit(0);
    }

    private Object run(JsonNode command) throws Exception {
        String topic = command.path("topic").asText();
        return switch (command.get("op").asText()) {
            case "hello" -> Map.of("client", "Apache Kafka Java " + version(), "cannot", List.of());
            case "produce" -> produce(topic, command);
            case "stream" -> stream(topic, command);
            case "consume" -> consume(topic, command);
            case "group" -> group(topic, command);
            case "offset" -> offset(topic, command);
            case "create" -> create(topic, command);
            case "delete" -> done(admin.deleteTopics(List.of(topic)).all());
            case "add-partitions" ->
                done(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(command.get("total").asInt()))).all());
            case "partitions" -> Map.of("partitions",
                get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size());
            case "topics" -> Map.of("topics", get(admin.listTopics().names()));
            case "config" -> config(topic, command.get("name").asText());
            case "alter" -> alter(topic, command);
            default -> throw new IllegalArgumentException("no operation " + command.get("op"));
        };
    }

    private static String version() throws IOException {
        Properties build = new Properties();
        build.load(Driver.class.getResourceAsStream("/kafka/kafka-version.properties"));
        return build.getProperty("version");
    }

    private static <T> T get(Future<T> future) throws Exception {
        return future.get(TIMEOUT_MS, TimeUnit.MILLISECONDS);
    }

    private static Object done(Future<?> future) throws Exception {
        get(future);
        return Map.of();
    }

    private Object produce(String topic, JsonNode command) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("acks", "all");
        settings.put("linger.ms", 20);
        settings.put("compression.type", command.get("codec").asText());
        settings.put("enable.idempotence", command.path("idempotent").asBoolean());
        settings.put("max.block.ms", 1000 * command.path("timeout_s").asInt(TIMEOUT_MS / 1000));
        settings.put("request.timeout.ms", TIMEOUT_MS / 2);
        settings.put("delivery.timeout.ms", TIMEOUT_MS);
        if (command.has("request_bytes_max")) {
            settings.put("max.request.size", command.get("request_bytes_max").asInt());
        }
        int partition = command.get("partition").asInt();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (JsonNode from : command.get("records")) {
                Long timestamp = from.hasNonNull("t") ? from.get("t").asLong() : null;
                var record = new ProducerRecord<>(topic, partition < 0 ? null : partition, timestamp,
                    decode(from.get("k")), decode(from.get("v")));
                for (JsonNode header : from.path("h")) {
                    record.headers().add(header.get(0).asText(), decode(header.get(1)));
                }
                sent.add(producer.send(record));
            }
            producer.flush();
        }
        List<Long> offsets = new ArrayList<>();
        for (Future<RecordMetadata> one : sent) {
            offsets.add(get(one).offset());
        }
        offsets.sort(null);
        return Map.of("offsets", offsets);
    }

    /** Sends numbers, idempotently, a burst every few milliseconds, until a file is there. */
    private Object stream(String topic, JsonNode command) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("acks", "all");
        settings.put("enable.idempotence", true);
        settings.put("linger.ms", 0);
        settings.put("batch.size", 500);
        settings.put("max.block.ms", 120_000);
        settings.put("delivery.timeout.ms", 120_000);
        settings.put("reconnect.backoff.max.ms", 200);
        int partition = command.get("partition").asInt();
        Path until = Path.of(command.get("until").asText());
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        List<Integer> failed = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            while (!Files.exists(until)) {
                for (int i = 0; i < command.get("burst").asInt(); i++) {
                    byte[] value = Integer.toString(sent.size()).getBytes(StandardCharsets.US_ASCII);
                    sent.add(producer.send(new ProducerRecord<>(topic, partition, null, value)));
                }
                Thread.sleep(5);
            }
            producer.flush();
        }
        for (int number = 0; number < sent.size(); number++) {
            try {
                sent.get(number).get();
            } catch (ExecutionException error) {
                failed.add(number);
                System.err.println(number + ": " + error.getCause());
            }
        }
        return Map.of("sent", sent.size(), "acked", sent.size() - failed.size(), "failed", failed);
    }

    private KafkaConsumer<byte[], byte[]> consumer(String group) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", false);
        settings.put("allow.auto.create.topics", false);
        settings.put("fetch.max.wait.ms", 100);
        settings.put("session.timeout.ms", 10_000);
        if (group != null) {
            settings.put("group.id", group);
        }
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** May read a little more than `count`; the caller commits exactly what is returned. */
    private static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + TIMEOUT_MS * 1_000_000L;
        while (records.size() < count && System.nanoTime() < deadline) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                if (records.size() < count) {
                    records.add(record);
                }
            }
        }
        return records;
    }

    private static Object reply(List<ConsumerRecord<byte[], byte[]>> records) {
        List<Object> all = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            List<Object> headers = new ArrayList<>();
            for (Header header : record.headers()) {
                List<String> pair = new ArrayList<>();
                pair.add(header.key());
                pair.add(encode(header.value()));
                headers.add(pair);
            }
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("p", record.partition());
            fields.put("o", record.offset());
            fields.put("k", encode(record.key()));
            fields.put("v", encode(record.value()));
            fields.put("t", record.timestamp());
            fields.put("h", headers);
            all.add(fields);
        }
        return Map.of("records", all);
    }

    private Object consume(String topic, JsonNode command) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null)) {
            TopicPartition where = new TopicPartition(topic, command.get("partition").asInt());
            consumer.assign(List.of(where));
            consumer.seek(where, command.get("offset").asLong());
            return reply(poll(consumer, command.get("count").asInt()));
        }
    }

    private Object group(String topic, JsonNode command) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(command.get("group").asText())) {
            consumer.subscribe(List.of(topic));
            var records = poll(consumer, command.get("count").asInt());
            Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
            for (var record : records) {
                ends.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
            }
            consumer.commitSync(ends);
            return reply(records);
        }
    }

    private Object offset(String topic, JsonNode command) throws Exception {
        TopicPartition where = new TopicPartition(topic, command.get("partition").asInt());
        long at = command.get("at").asLong();
        OffsetSpec spec = at == -1 ? OffsetSpec.latest() : at == -2 ? OffsetSpec.earliest() : OffsetSpec.forTimestamp(at);
        return Map.of("offset", get(admin.listOffsets(Map.of(where, spec)).partitionResult(where)).offset());
    }

    private Object create(String topic, JsonNode command) throws Exception {
        Map<String, String> configs = new HashMap<>();
        command.get("configs").fields().forEachRemaining(entry -> configs.put(entry.getKey(), entry.getValue().asText()));
        NewTopic one = new NewTopic(topic, command.get("partitions").asInt(), (short) 1).configs(configs);
        return done(admin.createTopics(List.of(one)).all());
    }

    private Object config(String topic, String name) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        ConfigEntry entry = get(admin.describeConfigs(List.of(resource)).all()).get(resource).get(name);
        Map<String, Object> reply = new HashMap<>();
        reply.put("value", entry == null ? null : entry.value());
        return reply;
    }

    private Object alter(String topic, JsonNode command) throws Exception {
        ConfigEntry entry = new ConfigEntry(command.get("name").asText(), command.get("value").asText());
        Collection<AlterConfigOp> changes = List.of(new AlterConfigOp(entry, AlterConfigOp.OpType.SET));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return done(admin.incrementalAlterConfigs(Map.of(resource, changes)).all());
    }

    private static byte[] decode(JsonNode text) {
        return text == null || text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    private static String encode(byte[] data) {
        return data == null ? null : Base64.getEncoder().encodeToString(data);
    }
}
