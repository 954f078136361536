"""librdkafka with a group. What the commands do is said in tests/conformance/tests/groups/mod.rs;
every client has the same ones. The load is that of roundtrip.py.
"""

import hashlib
import os
import random
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from roundtrip import CODECS, PARTITIONS, create, record

DEADLINE_S = 60


def digest(timestamp, key, value, headers):
    state = hashlib.sha256(b"%d;" % timestamp)

    def add(part):
        state.update(b"-" if part is None else b"%d:" % len(part) + part)

    add(key)
    add(value)
    for name, content in headers or []:
        add(name.encode())
        add(content)
    return state.hexdigest()[:32]


def produce(address, topic, state, count, mode):
    create(address, topic, None)
    rng = random.Random(topic)
    lines, failures = [], []
    for codec in CODECS:
        options = {"enable.idempotence": True} if mode == "idempotent" else {}
        producer = Producer(
            {
                "bootstrap.servers": address,
                "compression.type": codec,
                "message.max.bytes": 1 << 20,
                **options,
            }
        )
        for _ in range(int(count) // len(CODECS)):
            key, value, headers, timestamp = record(rng)

            def delivered(error, message, made=(timestamp, key, value, headers)):
                if error is not None:
                    failures.append(str(error))
                    return
                shown = digest(made[0] or message.timestamp()[1], *made[1:])
                lines.append(f"{message.partition()} {message.offset()} {shown}\n")

            while True:
                try:
                    producer.produce(
                        topic,
                        key=key,
                        value=value,
                        headers=headers,
                        timestamp=timestamp,
                        partition=rng.randrange(PARTITIONS),
                        on_delivery=delivered,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        if left := producer.flush(60):
            sys.exit(f"{left} records of codec {codec} have no delivery report")
    if failures:
        sys.exit(f"{len(failures)} records failed, first: {failures[0]}")
    with open(state, "w", encoding="ascii") as file:
        file.writelines(lines)
    print(f"{len(lines)} records")


class Group:
    """Members of one group in this process, and what they have read."""

    def __init__(self, address, topic, name, found):
        self.address, self.topic, self.name, self.found = address, topic, name, found
        self.slow = False
        self.repeated = 0
        self.seen = {}
        self.lock = threading.Lock()
        if os.path.exists(found):
            with open(found, encoding="ascii") as file:
                self.seen = dict(line.rstrip("\n").rsplit(" ", 1) for line in file)

    def run(self, until):
        before = len(self.seen)
        part = lambda share: lambda: len(self.seen) >= before + (until - before) * share
        first = Member(self)
        wait("a quarter", part(0.25), first)
        self.slow = True
        second = Member(self)
        halves = lambda: first.share == second.share == PARTITIONS // 2
        wait("a share for the second member", halves, first, second)
        self.slow = False
        wait("half", part(0.5), first, second)
        self.slow = True
        second.finish()
        wait("all partitions for the first again", lambda: first.share == PARTITIONS, first)
        at_last = len(self.seen)
        self.slow = False
        wait("all", part(1), first)
        first.finish()
        with open(self.found, "w", encoding="ascii") as file:
            file.writelines(f"{place} {told}\n" for place, told in self.seen.items())
        print(
            f"{len(self.seen)} records, {self.repeated} repeated, "
            f"{until - at_last} after the last rebalance"
        )

    def note(self, message):
        place = f"{message.partition()} {message.offset()}"
        told = digest(
            message.timestamp()[1], message.key(), message.value(), message.headers()
        )
        with self.lock:
            before = self.seen.get(place)
            self.seen[place] = told
            if before is not None:
                self.repeated += 1
                if before != told:
                    raise ValueError(f"read twice, differently: {place}")


def wait(what, holds, *members):
    end = time.monotonic() + DEADLINE_S
    while not holds():
        for member in members:
            if member.failure is not None:
                raise member.failure
        if time.monotonic() > end:
            sys.exit(f"no {what}")
        time.sleep(0.005)


class Member(threading.Thread):
    def __init__(self, group):
        super().__init__(daemon=True)
        self.group = group
        self.share = 0
        self.done = False
        self.failure = None
        self.start()

    def run(self):
        try:
            self.consume()
        except Exception as error:
            self.failure = error

    def consume(self):
        consumer = Consumer(
            {
                "bootstrap.servers": self.group.address,
                "group.id": self.group.name,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "heartbeat.interval.ms": 300,
                "fetch.message.max.bytes": 1 << 21,
            }
        )

        def commit():
            try:
                consumer.commit(asynchronous=False)
            except Exception as error:
                if error.args[0].code() != KafkaError._NO_OFFSET:
                    raise

        def assigned(_, partitions):
            self.share += len(partitions)

        def revoked(_, partitions):
            commit()
            self.share -= len(partitions)

        consumer.subscribe([self.group.topic], on_assign=assigned, on_revoke=revoked)
        while not self.done:
            for message in consumer.consume(200, timeout=0.1):
                if message.error() is not None:
                    raise ValueError(str(message.error()))
                self.group.note(message)
            if self.group.slow:
                commit()
                time.sleep(0.1)
        commit()
        consumer.close()

    def finish(self):
        self.done = True
        self.join(DEADLINE_S)
        if self.failure is not None:
            raise self.failure


def seek(address, topic):
    """Begins in the middle, and where the offset committed is out of range at the start."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": topic + "-seek",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 1 << 21,
        }
    )

    def expect(partition, offset):
        end = time.monotonic() + 30
        while (message := consumer.poll(1)) is None or message.error() is not None:
            if time.monotonic() > end:
                sys.exit(f"nothing at {offset} of {partition}")
        if message.offset() != offset:
            sys.exit(f"wanted {offset} of {partition}, got {message.offset()}")

    for partition in range(PARTITIONS):
        consumer.assign([TopicPartition(topic, partition, 1000)])
        expect(partition, 1000)
        beyond = TopicPartition(topic, partition, 1_000_000_000)
        consumer.commit(offsets=[beyond], asynchronous=False)
        if consumer.committed([beyond], timeout=10)[0].offset != beyond.offset:
            sys.exit("another offset is committed than was")
        consumer.assign([TopicPartition(topic, partition)])
        expect(partition, 0)
    consumer.close()
    print("sought")


def main(command, address, topic, *rest):
    if command == "produce":
        produce(address, topic, *rest)
    elif command == "group":
        Group(address, topic, rest[0], rest[1]).run(int(rest[2]))
    elif command == "seek":
        seek(address, topic)
    else:
        sys.exit(f"unknown command {command}")


if __name__ == "__main__":
    main(*sys.argv[1:])
