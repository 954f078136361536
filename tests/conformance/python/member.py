"""A live member of a group: says "assigned" once it has partitions, leaves when stdin ends.

usage: member.py BOOTSTRAP GROUP CLIENT TOPIC[,TOPIC]
"""

import select
import sys

from confluent_kafka import Consumer


def main():
    bootstrap, group, client, topics = sys.argv[1:]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "client.id": client,
            "partition.assignment.strategy": "range",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    said = False

    def assigned(_consumer, _partitions):
        nonlocal said
        if not said:
            print("assigned", flush=True)
        said = True

    consumer.subscribe(topics.split(","), on_assign=assigned)
    while not select.select([sys.stdin], [], [], 0)[0]:
        consumer.poll(0.1)
    consumer.close()


main()
