package ottla.conformance;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;

/**
 * Apache Kafka's Java client with a group. What the commands do is said in
 * {@code tests/conformance/tests/groups/mod.rs}; every client has the same ones.
 */
public final class GroupClient {
    private static final int PARTITIONS = 12;
    private static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    private static final int LARGEST = (1 << 20) - 4096;
    private static final long DEADLINE_MS = 60_000;

    private GroupClient() {}

    public static void main(String[] arguments) throws Exception {
        String address = arguments[1];
        String topic = arguments[2];
        switch (arguments[0]) {
            case "produce" -> produce(address, topic, Path.of(arguments[3]),
                Integer.parseInt(arguments[4]), arguments[5]);
            case "group" -> new Group(address, topic, arguments[3], Path.of(arguments[4]))
                .run(Integer.parseInt(arguments[5]));
            case "seek" -> seek(address, topic);
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private static String digest(long timestamp, byte[] key, byte[] value, Iterable<Header> headers)
        throws Exception {
        MessageDigest state = MessageDigest.getInstance("SHA-256");
        state.update((timestamp + ";").getBytes(StandardCharsets.US_ASCII));
        add(state, key);
        add(state, value);
        for (Header header : headers) {
            add(state, header.key().getBytes(StandardCharsets.UTF_8));
            add(state, header.value());
        }
        return HexFormat.of().formatHex(state.digest(), 0, 16);
    }

    private static void add(MessageDigest state, byte[] part) {
        if (part == null) {
            state.update((byte) '-');
            return;
        }
        state.update((part.length + ":").getBytes(StandardCharsets.US_ASCII));
        state.update(part);
    }

    private static Properties common(String address) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", address);
        for (String side : new String[] {"key", "value"}) {
            String type = "org.apache.kafka.common.serialization.ByteArray";
            properties.put(side + ".serializer", type + "Serializer");
            properties.put(side + ".deserializer", type + "Deserializer");
        }
        return properties;
    }

    private static byte[] content(Random random, int length) {
        byte[] bytes = new byte[length];
        if (random.nextBoolean()) {
            random.nextBytes(bytes);
        } else {
            for (int at = 0; at < length; at++) {
                bytes[at] = (byte) ('a' + at % 16);
            }
        }
        return bytes;
    }

    private static int size(Random random) {
        double chance = random.nextDouble();
        if (chance < 0.05) {
            return 0;
        }
        if (chance < 0.95) {
            return random.nextInt(200);
        }
        if (chance < 0.9997) {
            return random.nextInt(4096);
        }
        return chance > 0.9999 ? LARGEST : random.nextInt(LARGEST);
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, Random random) {
        byte[] key = random.nextInt(5) == 0 ? null : content(random, random.nextInt(40));
        byte[] value = random.nextInt(10) == 0 ? null : content(random, size(random));
        RecordHeaders headers = new RecordHeaders();
        for (int left = new int[] {0, 0, 0, 1, 2, 5}[random.nextInt(6)]; left > 0; left--) {
            // Few names, so that they repeat within a record.
            String name = new String[] {"trace", "p\u0159\u00edznak", ""}[random.nextInt(3)];
            headers.add(name, random.nextInt(3) == 0 ? null : content(random, random.nextInt(30)));
        }
        long now = System.currentTimeMillis();
        Long[] choices = {null, 1L, now - random.nextInt(1_000_000_000), now};
        Long timestamp = choices[random.nextInt(choices.length)];
        return new ProducerRecord<>(
            topic, random.nextInt(PARTITIONS), timestamp, key, value, headers);
    }

    private static void produce(String address, String topic, Path state, int count, String mode)
        throws Exception {
        try (Admin admin = Admin.create(common(address))) {
            NewTopic wanted = new NewTopic(topic, PARTITIONS, (short) 1)
                .configs(Map.of("retention.ms", "-1"));
            admin.createTopics(List.of(wanted)).all().get();
        }
        Random random = new Random(topic.hashCode());
        ConcurrentLinkedQueue<String> lines = new ConcurrentLinkedQueue<>();
        ConcurrentLinkedQueue<String> failures = new ConcurrentLinkedQueue<>();
        for (String codec : CODECS) {
            Properties properties = common(address);
            properties.put("compression.type", codec);
            properties.put("linger.ms", "5");
            if (!mode.equals("default")) {
                boolean idempotent = mode.equals("idempotent");
                properties.put("enable.idempotence", idempotent);
                properties.put("acks", idempotent ? "all" : "1");
            }
            try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties)) {
                for (int left = count / CODECS.length; left > 0; left--) {
                    ProducerRecord<byte[], byte[]> record = record(topic, random);
                    producer.send(record, (metadata, error) -> {
                        try {
                            if (error != null) {
                                failures.add(error.toString());
                                return;
                            }
                            Long chosen = record.timestamp();
                            long timestamp = chosen == null ? metadata.timestamp() : chosen;
                            lines.add(metadata.partition() + " " + metadata.offset() + " " + digest(
                                timestamp, record.key(), record.value(), record.headers()));
                        } catch (Exception impossible) {
                            failures.add(impossible.toString());
                        }
                    });
                }
            }
        }
        if (!failures.isEmpty()) {
            throw new IllegalStateException(failures.size() + " failed, first " + failures.peek());
        }
        Files.write(state, lines);
        System.out.println(lines.size() + " records");
    }

    /** Members of one group in this process, and what they have read. */
    private static final class Group {
        private final String address;
        private final String topic;
        private final String name;
        private final Path found;
        private final Map<String, String> seen = new ConcurrentHashMap<>();
        private final AtomicInteger repeated = new AtomicInteger();
        private volatile boolean slow;

        Group(String address, String topic, String name, Path found) throws IOException {
            this.address = address;
            this.topic = topic;
            this.name = name;
            this.found = found;
            if (Files.exists(found)) {
                for (String line : Files.readAllLines(found)) {
                    int end = line.lastIndexOf(' ');
                    seen.put(line.substring(0, end), line.substring(end + 1));
                }
            }
        }

        void run(int until) throws Exception {
            int before = seen.size();
            Member first = new Member();
            first.start();
            await("a quarter", () -> seen.size() >= before + (until - before) / 4, first);
            slow = true;
            Member second = new Member();
            second.start();
            await("a share for the second member",
                () -> second.share == PARTITIONS / 2 && first.share == PARTITIONS / 2,
                first, second);
            slow = false;
            await("half", () -> seen.size() >= before + (until - before) / 2, first, second);
            slow = true;
            second.finish();
            await("all partitions for the first again", () -> first.share == PARTITIONS, first);
            int atLast = seen.size();
            slow = false;
            await("all", () -> seen.size() >= until, first);
            first.finish();
            try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(found))) {
                seen.forEach((place, digest) -> out.println(place + " " + digest));
            }
            System.out.println(seen.size() + " records, " + repeated + " repeated, "
                + (until - atLast) + " after the last rebalance");
        }

        private interface Condition {
            boolean holds();
        }

        private void await(String what, Condition condition, Member... members) throws Exception {
            long end = System.currentTimeMillis() + DEADLINE_MS;
            while (!condition.holds()) {
                for (Member member : members) {
                    if (member.failure != null) {
                        throw new IllegalStateException("waiting for " + what, member.failure);
                    }
                }
                if (System.currentTimeMillis() > end) {
                    throw new IllegalStateException(
                        "no " + what + ": " + seen.size() + " records seen");
                }
                Thread.sleep(5);
            }
        }

        private final class Member extends Thread implements ConsumerRebalanceListener {
            private volatile int share;
            private volatile boolean done;
            private volatile Exception failure;
            private KafkaConsumer<byte[], byte[]> consumer;

            @Override
            public void run() {
                Properties properties = common(address);
                properties.put("group.id", name);
                properties.put("auto.offset.reset", "earliest");
                properties.put("enable.auto.commit", "false");
                properties.put("heartbeat.interval.ms", "300");
                properties.put("max.poll.records", "200");
                try (KafkaConsumer<byte[], byte[]> own = new KafkaConsumer<>(properties)) {
                    consumer = own;
                    own.subscribe(List.of(topic), this);
                    while (!done) {
                        ConsumerRecords<byte[], byte[]> records = own.poll(Duration.ofMillis(100));
                        for (ConsumerRecord<byte[], byte[]> record : records) {
                            note(record);
                        }
                        if (slow) {
                            own.commitSync();
                            Thread.sleep(100);
                        }
                    }
                    own.commitSync();
                } catch (Exception error) {
                    failure = error;
                }
            }

            private void note(ConsumerRecord<byte[], byte[]> record) throws Exception {
                String place = record.partition() + " " + record.offset();
                String digest = digest(
                    record.timestamp(), record.key(), record.value(), record.headers());
                String before = seen.put(place, digest);
                if (before != null) {
                    repeated.incrementAndGet();
                    if (!before.equals(digest)) {
                        throw new IllegalStateException("read twice, differently: " + place);
                    }
                }
            }

            void finish() throws Exception {
                done = true;
                join();
                if (failure != null) {
                    throw failure;
                }
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                consumer.commitSync();
                share -= partitions.size();
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                share += partitions.size();
            }

            @Override
            public void onPartitionsLost(Collection<TopicPartition> partitions) {
                share -= partitions.size();
            }
        }
    }

    /** Seeks by offset and by time, and goes on where a committed offset is out of range. */
    private static void seek(String address, String topic) throws Exception {
        Properties properties = common(address);
        properties.put("group.id", topic + "-seek");
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        List<TopicPartition> places = new ArrayList<>();
        for (int index = 0; index < PARTITIONS; index++) {
            places.add(new TopicPartition(topic, index));
        }
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            Map<TopicPartition, Long> ends = consumer.endOffsets(places);
            Map<TopicPartition, OffsetAndMetadata> beyond = new HashMap<>();
            for (TopicPartition place : places) {
                consumer.assign(List.of(place));
                long middle = ends.get(place) / 2;
                consumer.seek(place, middle);
                expect(consumer, place, middle);
                consumer.seekToBeginning(List.of(place));
                expect(consumer, place, 0);
                consumer.seekToEnd(List.of(place));
                if (consumer.position(place) != ends.get(place)) {
                    throw new IllegalStateException("the end of " + place + " moved");
                }
                var first = consumer.offsetsForTimes(Map.of(place, 1L)).get(place);
                if (first == null || first.timestamp() < 1) {
                    throw new IllegalStateException("no record of " + place + " by its time");
                }
                beyond.put(place, new OffsetAndMetadata(ends.get(place) + 1_000_000, "beyond"));
            }
            consumer.assign(places);
            consumer.commitSync(beyond);
            var committed = consumer.committed(Collections.singleton(places.get(0)));
            if (!committed.get(places.get(0)).metadata().equals("beyond")) {
                throw new IllegalStateException("another note: " + committed);
            }
        }
        // A consumer that finds its offset out of range begins where it is told to.
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            consumer.assign(List.of(places.get(3)));
            expect(consumer, places.get(3), 0);
        }
        System.out.println("sought");
    }

    private static void expect(
        KafkaConsumer<byte[], byte[]> consumer, TopicPartition place, long offset) {
        long end = System.currentTimeMillis() + 30_000;
        while (System.currentTimeMillis() < end) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                if (record.offset() != offset) {
                    throw new IllegalStateException(
                        "wanted " + offset + " of " + place + ", got " + record.offset());
                }
                return;
            }
        }
        throw new IllegalStateException("nothing at " + offset + " of " + place);
    }
}
