import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * What Apache Kafka's Java client does to a topic of six partitions that exists and is empty: `Verdict broker topic`.
 * Prints one line of JSON, {"check": true, …}; throws at the first thing that never comes true.
 */
public class Verdict {
    static final int PARTITIONS = 6;
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    static final int OF_EACH = 600;
    static String broker, topic;
    static final Map<String, Boolean> verdict = new TreeMap<>();

    public static void main(String[] arguments) throws Exception {
        broker = arguments[0];
        topic = arguments[1];
        for (int number = 0; number < CODECS.length; number++) produce(CODECS[number], number);
        readInGroup();
        staticMember();
        offsets();
        System.out.println(verdict.entrySet().stream()
            .map(entry -> "\"" + entry.getKey() + "\": " + entry.getValue()).collect(Collectors.joining(", ", "{", "}")));
    }

    static KafkaProducer<String, String> producer(String codec) {
        Properties wanted = new Properties();
        wanted.put("bootstrap.servers", broker);
        wanted.put("enable.idempotence", "true");
        wanted.put("max.in.flight.requests.per.connection", "5");
        wanted.put("batch.size", "2000");
        wanted.put("compression.type", codec);
        return new KafkaProducer<>(wanted, new StringSerializer(), new StringSerializer());
    }

    static void produce(String codec, int round) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer(codec)) {
            for (int number = 0; number < OF_EACH; number++) {
                long time = 1_000_000 + round * OF_EACH + number;
                String value = codec + " " + number + " " + "x".repeat(100);
                sent.add(producer.send(new ProducerRecord<>(topic, number % PARTITIONS, time, "key", value)));
            }
            producer.flush();
        }
        boolean inOrder = true;
        for (int number = 0; number < OF_EACH; number++) {
            long expected = (long) round * OF_EACH / PARTITIONS + number / PARTITIONS;
            inOrder &= sent.get(number).get().offset() == expected;
        }
        verdict.put("idempotent_" + codec, inOrder);
    }

    /** A member that counts what it loses. */
    static class Member extends KafkaConsumer<String, String> implements ConsumerRebalanceListener {
        final Set<TopicPartition> lost = Collections.synchronizedSet(new HashSet<>());
        final Map<Integer, List<String>> read = new HashMap<>();

        Member(String group, String instance) {
            super(options(group, instance), new StringDeserializer(), new StringDeserializer());
            subscribe(List.of(topic), this);
        }

        static Properties options(String group, String instance) {
            Properties wanted = new Properties();
            wanted.put("bootstrap.servers", broker);
            wanted.put("group.id", group);
            wanted.put("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
            wanted.put("auto.offset.reset", "earliest");
            wanted.put("enable.auto.commit", "false");
            wanted.put("heartbeat.interval.ms", "300");
            if (instance != null) wanted.put("group.instance.id", instance);
            return wanted;
        }

        @Override public void onPartitionsRevoked(Collection<TopicPartition> places) { lost.addAll(places); }

        @Override public void onPartitionsAssigned(Collection<TopicPartition> places) { }

        void pollOnce() {
            poll(Duration.ofMillis(30)).forEach(record ->
                read.computeIfAbsent(record.partition(), any -> new ArrayList<>()).add(record.value().split(" x")[0]));
        }
    }

    static void await(String what, BooleanSupplier check) {
        long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        while (!check.getAsBoolean()) if (System.nanoTime() > end) throw new IllegalStateException("never came true: " + what);
    }

    static void settle(List<Member> members) {
        await(members.size() + " members that share", () -> {
            members.forEach(Member::pollOnce);
            Set<TopicPartition> all = new HashSet<>();
            members.forEach(member -> all.addAll(member.assignment()));
            int share = PARTITIONS / members.size();
            return all.size() == PARTITIONS && members.stream().allMatch(member -> member.assignment().size() == share);
        });
    }

    static void readInGroup() {
        List<Member> members = new ArrayList<>();
        for (int number = 0; number < 3; number++) {
            members.add(new Member(topic + "-group", null));
            settle(members);
        }
        Member first = members.get(0);
        Set<TopicPartition> kept = first.assignment();
        verdict.put("cooperative_keeps", first.lost.size() == 4 && Collections.disjoint(first.lost, kept));
        await("all records read", () -> {
            members.forEach(Member::pollOnce);
            Set<String> values = new HashSet<>();
            members.forEach(member -> member.read.values().forEach(values::addAll));
            return values.size() == CODECS.length * OF_EACH;
        });
        // Nothing was committed, so whoever got a partition began at its start.
        boolean inOrder = true;
        for (Member member : members) for (int partition : member.read.keySet()) {
            List<String> expected = new ArrayList<>();
            for (String codec : CODECS) for (int n = partition; n < OF_EACH; n += PARTITIONS) expected.add(codec + " " + n);
            List<String> read = member.read.get(partition);
            inOrder &= read.equals(expected.subList(0, read.size()));
        }
        verdict.put("group_reads_in_order", inOrder);

        TopicPartition place = kept.iterator().next();
        first.commitSync(Map.of(place, new OffsetAndMetadata(77, "so far")));
        OffsetAndMetadata committed = first.committed(Set.of(place)).get(place);
        verdict.put("commit_metadata", committed.offset() == 77 && committed.metadata().equals("so far"));
        members.remove(2).close();
        settle(members);
        verdict.put("leaver_is_replaced", first.assignment().containsAll(kept));
        members.forEach(Member::close);
    }

    static void staticMember() {
        String group = topic + "-static";
        List<Member> members = new ArrayList<>(List.of(new Member(group, "one"), new Member(group, "two")));
        settle(members);
        Set<TopicPartition> had = Set.of();
        Member again = null;
        boolean keeps = false;
        // A leader whose view of the topic has changed asks for a rebalance of its own, which may fall into a restart, but not into each.
        for (int attempt = 0; attempt < 3 && !keeps; attempt++) {
            int generation = members.get(0).groupMetadata().generationId();
            had = members.get(1).assignment();
            members.remove(1).close();
            again = new Member(group, "two");
            members.add(again);
            settle(members);
            keeps = again.groupMetadata().generationId() == generation
                && members.get(0).groupMetadata().generationId() == generation && again.assignment().equals(had);
        }
        verdict.put("static_restart_keeps_generation", keeps);
        Member last = again, twin = new Member(group, "two");
        TopicPartition any = had.iterator().next();
        boolean[] fenced = {false};
        await("a fenced twin", () -> {
            twin.pollOnce();
            try {
                last.pollOnce();
                last.commitSync(Map.of(any, new OffsetAndMetadata(1)));
            } catch (FencedInstanceIdException expected) {
                fenced[0] = true;
            }
            return fenced[0];
        });
        verdict.put("static_twin_is_fenced", fenced[0]);
        last.close();
        twin.close();
        members.get(0).close();
    }

    static void offsets() {
        try (Member reader = new Member(topic + "-seek", null)) {
            reader.unsubscribe();
            TopicPartition place = new TopicPartition(topic, 1);
            reader.assign(List.of(place));
            // Partition 1 holds the records 1, 7, 13 … of each round.
            var found = reader.offsetsForTimes(Map.of(place, 1_000_000L + OF_EACH + 2)).get(place);
            verdict.put("offsets_for_times",
                found.offset() == OF_EACH / PARTITIONS + 1 && found.timestamp() == 1_000_000L + OF_EACH + 7);
            verdict.put("no_offset_after_the_last", reader.offsetsForTimes(Map.of(place, 9_000_000L)).get(place) == null);
            long end = (long) CODECS.length * OF_EACH / PARTITIONS;
            verdict.put("ends", reader.endOffsets(List.of(place)).equals(Map.of(place, end))
                && reader.beginningOffsets(List.of(place)).equals(Map.of(place, 0L)));
            reader.seek(place, found.offset());
            await("records after a seek", () -> { reader.pollOnce(); return reader.position(place) == end; });
            verdict.put("seek", reader.read.get(1).size() == end - found.offset() && reader.read.get(1).get(0).equals("gzip 7"));
        }
    }
}
