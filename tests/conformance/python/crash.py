"""Produces until told to stop while the broker crashes and returns; then checks what was promised.

    crash.py produce ADDRESS TOPIC ACKS [--idempotent]
    crash.py verify ADDRESS TOPIC ACKS [--idempotent]

`produce` appends one line per acknowledged record to ACKS, in one write each and with nothing
buffered here: partition, offset, digest of the value. It ends when its standard input does.
`verify` reads the topic from the beginning: every acknowledged record must be where the
acknowledgement said. With --idempotent no record may be there twice or out of its order.
"""

import argparse
import hashlib
import os
import random
import select
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3
# Records each second.
RATE = 2000
DEADLINE_S = 120


def digest(value):
    return hashlib.blake2b(value, digest_size=16).hexdigest()


def produce(options):
    admin = AdminClient({"bootstrap.servers": options.address})
    topic = NewTopic(options.topic, num_partitions=PARTITIONS, replication_factor=1)
    admin.create_topics([topic], operation_timeout=30)[options.topic].result(timeout=60)
    acks = os.open(options.acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fatal = []
    producer = Producer(
        {
            "bootstrap.servers": options.address,
            "acks": "all",
            "enable.idempotence": options.idempotent,
            "linger.ms": 1,
            "message.timeout.ms": 300_000,
            "reconnect.backoff.max.ms": 500,
            "error_cb": lambda error: fatal.append(str(error)) if error.fatal() else None,
        }
    )

    def delivered(error, message):
        if error is not None:
            fatal.append(str(error))
        else:
            row = f"{message.partition()} {message.offset()} {digest(message.value())}\n"
            os.write(acks, row.encode())

    rng = random.Random(options.topic)
    sequence = [0] * PARTITIONS
    start = time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0] and not fatal:
        # Few in flight: each acknowledgement is one chance to be wrong at the crash. And not too
        # fast, or else reading everything again takes longer each round.
        while len(producer) > 500 or sum(sequence) > RATE * (time.monotonic() - start):
            producer.poll(0.01)
            if fatal or select.select([sys.stdin], [], [], 0)[0]:
                break
        partition = rng.randrange(PARTITIONS)
        value = b"%d " % sequence[partition] + rng.randbytes(rng.randrange(2000))
        sequence[partition] += 1
        producer.produce(options.topic, value=value, partition=partition, on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(60)
    if fatal:
        sys.exit(f"producer: {fatal[0]}")
    if left:
        sys.exit(f"{left} records have no delivery report")
    print(" ".join(str(count) for count in sequence))


def verify(options):
    with open(options.acks, encoding="ascii") as file:
        rows = [line.split() for line in file if line.endswith("\n")]
    promised = {(int(partition), int(offset)): value for partition, offset, value in rows}
    reader = Consumer(
        {
            "bootstrap.servers": options.address,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }
    )
    reader.assign([TopicPartition(options.topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    ended = set()
    kept = set()
    read = 0
    following = [0] * PARTITIONS
    deadline = time.monotonic() + DEADLINE_S
    while len(ended) < PARTITIONS:
        if time.monotonic() > deadline:
            sys.exit(f"{read} records read after {DEADLINE_S} s")
        for message in reader.consume(1000, timeout=1):
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    sys.exit(f"consumer: {error}")
                ended.add(message.partition())
                continue
            read += 1
            partition, value = message.partition(), message.value()
            place = (partition, message.offset())
            if place in promised:
                if promised[place] != digest(value):
                    sys.exit(f"another record than the acknowledged one is at {place}")
                kept.add(place)
            number = int(value.split(b" ", 1)[0])
            if options.idempotent and number != following[partition]:
                sys.exit(f"record {number} at {place}, expected {following[partition]}")
            following[partition] = number + 1
    reader.close()
    lost = sorted(promised.keys() - kept)
    if lost:
        sys.exit(f"{len(lost)} of {len(promised)} acknowledged records are lost: {lost[:5]}")
    print(f"{len(promised)} acknowledged, {read} read")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["produce", "verify"])
    parser.add_argument("address")
    parser.add_argument("topic")
    parser.add_argument("acks")
    parser.add_argument("--idempotent", action="store_true")
    options = parser.parse_args()
    {"produce": produce, "verify": verify}[options.command](options)


if __name__ == "__main__":
    main()
