"""Produces a known, varied load through librdkafka and checks that it comes back byte for byte.

    roundtrip.py produce ADDRESS TOPIC STATE [--count N] [--idempotent] [--segment-bytes N]
    roundtrip.py consume ADDRESS TOPIC STATE

`produce` creates the topic with 12 partitions and writes one line per delivery report to STATE:
partition, offset and a digest of timestamp, key, value and headers as they were produced. `consume`
reads every partition from the beginning, without a consumer group, and compares.
"""

import argparse
import hashlib
import json
import random
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 12
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# A batch of one such record stays below the default max.message.bytes.
LARGEST = (1 << 20) - 4096
NOW_MS = int(time.time() * 1000)
DEADLINE_S = 240


def digest(timestamp, key, value, headers):
    """A digest that tells null from empty everywhere."""
    state = hashlib.blake2b(digest_size=16)

    def add(part):
        state.update(b"-" if part is None else b"+%d:" % len(part) + part)

    state.update(b"%d;" % timestamp)
    add(key)
    add(value)
    for name, content in headers or []:
        add(name.encode())
        add(content)
    return state.hexdigest()


def size(rng):
    """Mostly small, now and then up to the largest."""
    chance = rng.random()
    if chance < 0.05:
        return 0
    if chance < 0.95:
        return rng.randrange(200)
    if chance < 0.999:
        return rng.randrange(8192)
    return LARGEST if chance > 0.9998 else rng.randrange(LARGEST)


def content(rng, length):
    """Half of it compresses well, half not at all."""
    if rng.random() < 0.5:
        return rng.randbytes(length)
    pattern = rng.randbytes(16)
    return (pattern * (length // 16 + 1))[:length]


def record(rng):
    key = None if rng.random() < 0.2 else content(rng, rng.randrange(40))
    value = None if rng.random() < 0.1 else content(rng, size(rng))
    headers = []
    for _ in range(rng.choice([0, 0, 0, 1, 2, 5])):
        # Few names, so that they repeat within a record.
        name = rng.choice(["trace", "příznak", "", "a" * 100])
        headers.append((name, rng.choice([None, b"", rng.randbytes(rng.randrange(30))])))
    # Zero means "now" to the client; brokers refuse the future.
    timestamp = rng.choice([0, 1, rng.randrange(1, NOW_MS), NOW_MS])
    return key, value, headers, timestamp


def create(address, topic, segment_bytes):
    # Some timestamps are decades old; retention by time would take their segments away.
    config = {"retention.ms": "-1"}
    if segment_bytes:
        config["segment.bytes"] = str(segment_bytes)
    admin = AdminClient({"bootstrap.servers": address})
    wanted = NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1, config=config)
    admin.create_topics([wanted], operation_timeout=30)[topic].result(timeout=60)


def produce(options):
    create(options.address, options.topic, options.segment_bytes)
    rng = random.Random(options.topic)
    failures = []
    with open(options.state, "w", encoding="ascii") as state:

        def delivered(expected, error, message):
            if error is not None:
                failures.append(str(error))
                return
            timestamp = expected[3] or message.timestamp()[1]
            row = [message.partition(), message.offset(), digest(timestamp, *expected[:3])]
            state.write(json.dumps(row) + "\n")

        for codec in CODECS:
            producer = Producer(
                {
                    "bootstrap.servers": options.address,
                    "compression.type": codec,
                    "enable.idempotence": options.idempotent,
                    "message.max.bytes": 1 << 20,
                    "linger.ms": 5,
                    "message.timeout.ms": 60_000,
                }
            )
            for _ in range(options.count // len(CODECS)):
                key, value, headers, timestamp = record(rng)
                expected = (key, value, headers, timestamp)

                def callback(error, message, expected=expected):
                    delivered(expected, error, message)

                while True:
                    try:
                        producer.produce(
                            options.topic,
                            key=key,
                            value=value,
                            headers=headers,
                            timestamp=timestamp,
                            partition=rng.randrange(PARTITIONS),
                            on_delivery=callback,
                        )
                        break
                    except BufferError:
                        producer.poll(0.1)
                producer.poll(0)
            left = producer.flush(120)
            if left:
                sys.exit(f"{left} records of codec {codec} have no delivery report")
    if failures:
        sys.exit(f"{len(failures)} records failed, first: {failures[0]}")


def consumer(address):
    return Consumer(
        {
            "bootstrap.servers": address,
            # The client wants a name even where no group is used.
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.message.max.bytes": 1 << 21,
            "check.crcs": True,
        }
    )


def consume(options):
    expected = {}
    with open(options.state, encoding="ascii") as state:
        for line in state:
            partition, offset, value = json.loads(line)
            if (partition, offset) in expected:
                sys.exit(f"offset {offset} of partition {partition} was given out twice")
            expected[partition, offset] = value
    reader = consumer(options.address)
    places = [TopicPartition(options.topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)]
    reader.assign(places)
    found = {}
    ended = set()
    deadline = time.monotonic() + DEADLINE_S
    while len(ended) < PARTITIONS:
        if time.monotonic() > deadline:
            sys.exit(f"{len(found)} of {len(expected)} records after {DEADLINE_S} s")
        for message in reader.consume(1000, timeout=1):
            error = message.error()
            if error is None:
                place = (message.partition(), message.offset())
                found[place] = digest(
                    message.timestamp()[1], message.key(), message.value(), message.headers()
                )
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            else:
                sys.exit(f"consumer: {error}")
    compare(expected, found)
    seek(reader, options.topic, expected)
    reader.close()
    total = hashlib.blake2b(digest_size=16)
    for place in sorted(found):
        total.update(repr((place, found[place])).encode())
    print(f"{len(found)} records, checksum {total.hexdigest()}")


def compare(expected, found):
    lacking = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    differing = sorted(place for place in expected.keys() & found.keys()
                       if expected[place] != found[place])
    if lacking or surplus or differing:
        sys.exit(
            f"of {len(expected)} records {len(lacking)} lack (first {lacking[:3]}), "
            f"{len(surplus)} are surplus (first {surplus[:3]}), "
            f"{len(differing)} differ (first {differing[:3]})"
        )
    for partition in range(PARTITIONS):
        offsets = sorted(offset for place, offset in expected if place == partition)
        if offsets != list(range(len(offsets))):
            sys.exit(f"the offsets of partition {partition} have gaps")


def seek(reader, topic, expected):
    """Goes back to the middle of each partition: the record there comes first."""
    for partition in range(PARTITIONS):
        middle = sum(1 for place, _ in expected if place == partition) // 2
        reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        deadline = time.monotonic() + 30
        while (message := reader.poll(1)) is None or message.error() is not None:
            if time.monotonic() > deadline:
                sys.exit(f"nothing from the beginning of partition {partition}")
        reader.seek(TopicPartition(topic, partition, middle))
        deadline = time.monotonic() + 30
        while (message := reader.poll(1)) is None or message.error() is not None:
            if time.monotonic() > deadline:
                sys.exit(f"nothing after a seek in partition {partition}")
        if message.offset() != middle:
            sys.exit(f"sought {middle} in partition {partition}, got {message.offset()}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["produce", "consume"])
    parser.add_argument("address")
    parser.add_argument("topic")
    parser.add_argument("state")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--idempotent", action="store_true")
    parser.add_argument("--segment-bytes", type=int)
    options = parser.parse_args()
    {"produce": produce, "consume": consume}[options.command](options)


if __name__ == "__main__":
    main()
