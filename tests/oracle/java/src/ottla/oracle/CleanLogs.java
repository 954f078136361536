package ottla.oracle;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.util.KafkaScheduler;
import org.apache.kafka.storage.internals.log.Cleaner;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogToClean;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.SkimpyOffsetMap;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * Cleans logs with Apache Kafka's own cleaner. Each line of the file named by the argument is one
 * cleaning: directory, first dirty offset, time, bytes of the offset map, load factor, and then
 * topic configuration as {@code key=value}, separated by tabs. Prints for each the first offset
 * that was not looked at, the first that may not be cleaned, and the ratio of dirty bytes.
 */
public final class CleanLogs {
    private CleanLogs() {}

    public static void main(String[] arguments) throws Exception {
        KafkaScheduler scheduler = new KafkaScheduler(1);
        scheduler.startup();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] fields = line.split("\t");
            Map<String, String> config = new HashMap<>();
            for (int index = 5; index < fields.length; index++) {
                String[] pair = fields[index].split("=", 2);
                config.put(pair[0], pair[1]);
            }
            clean(new File(fields[0]), Long.parseLong(fields[1]), Long.parseLong(fields[2]),
                    Integer.parseInt(fields[3]), Double.parseDouble(fields[4]),
                    new LogConfig(config), scheduler);
        }
        scheduler.shutdown();
    }

    private static void clean(File directory, long firstDirty, long now, int mapBytes,
            double loadFactor, LogConfig config, KafkaScheduler scheduler) throws Exception {
        Time time = new FixedTime(now);
        UnifiedLog log = UnifiedLog.create(directory, config, 0, 0, scheduler,
                new BrokerTopicStats(), time, 900_000,
                new ProducerStateManagerConfig(Integer.MAX_VALUE, false), Integer.MAX_VALUE,
                new LogDirFailureChannel(1), true, Optional.empty());
        log.updateHighWatermark(log.logEndOffset());
        long bound = Math.min(log.lastStableOffset(), log.activeSegment().baseOffset());
        LogToClean cleanable = new LogToClean(log, firstDirty, bound, false);
        Throttler throttler =
                new Throttler(Double.MAX_VALUE, Long.MAX_VALUE, "cleaner", "bytes", time);
        Cleaner cleaner = new Cleaner(0, new SkimpyOffsetMap(mapBytes), 65536, 1 << 20, loadFactor,
                throttler, time, partition -> { });
        long end = cleaner.doClean(cleanable, now).getKey();
        System.out.println(end + "\t" + cleanable.firstUncleanableOffset() + "\t"
                + cleanable.cleanableRatio());
        log.close();
    }

    /** Time stands still, so that what it decides is the same on both sides. */
    private static final class FixedTime implements Time {
        private final long now;

        FixedTime(long now) {
            this.now = now;
        }

        @Override
        public long milliseconds() {
            return now;
        }

        @Override
        public long nanoseconds() {
            return now * 1_000_000;
        }

        @Override
        public void sleep(long ms) {}
    }
}
