"""kafka-python, an old client that is still about, through a whole round.

    smoke.py ADDRESS TOPIC

Creates the topic, writes keyed records with gzip, reads them as a group, commits, and finds as a
second member that nothing is left.
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

RECORDS = 2000


def reader(address, topic):
    return KafkaConsumer(
        topic,
        bootstrap_servers=address,
        group_id="smoke-python",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=20_000,
    )


def main():
    address, topic = sys.argv[1:]
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1)])
    producer = KafkaProducer(bootstrap_servers=address, acks="all", compression_type="gzip")
    written = set()
    for index in range(RECORDS):
        key, value = b"key-%d" % (index % 7), b"value %d" % index
        headers = [("h", b"1"), ("h", b"%d" % index)]
        place = producer.send(topic, key=key, value=value, headers=headers)
        written.add((place, key, value, tuple(headers)))
    producer.flush(60)
    written = {
        (place.get(60).partition, place.get(60).offset, *rest) for place, *rest in written
    }
    consumer = reader(address, topic)
    read = []
    for message in consumer:
        read.append((message.partition, message.offset, message.key, message.value,
                     tuple(message.headers)))
        if len(read) == RECORDS:
            break
    if len(set(read)) != RECORDS or set(read) != written:
        same = len(set(read) & written)
        sys.exit(f"{same} of {RECORDS} records came back as they were written")
    consumer.commit()
    consumer.close()
    consumer = reader(address, topic)
    left = consumer.poll(timeout_ms=3000)
    if left:
        sys.exit(f"read again after the commit: {left}")
    places = [TopicPartition(topic, partition) for partition in range(3)]
    ends = consumer.end_offsets(places)
    committed = {place: consumer.committed(place) or 0 for place in places}
    if committed != ends or sum(ends.values()) != RECORDS:
        sys.exit(f"committed {committed}, the ends are {ends}")
    consumer.close()
    print(f"{len(read)} records")


if __name__ == "__main__":
    main()
