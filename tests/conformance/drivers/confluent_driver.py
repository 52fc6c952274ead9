"""confluent-kafka: the Python face of librdkafka, which half of the non-Java world uses."""
import os
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                   NewTopic, OffsetSpec)

from driver_loop import record_reply, serve

TIMEOUT_S = 20


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def hello(self):
        version = f"confluent-kafka {confluent_kafka.__version__}, librdkafka {confluent_kafka.libversion()[0]}"
        return {"client": version, "cannot": []}

    def produce(self, topic, partition, codec, records, idempotent=False, request_bytes_max=None,
                timeout_s=TIMEOUT_S):
        settings = {
            "bootstrap.servers": self.bootstrap, "compression.type": codec, "linger.ms": 20, "acks": "all",
            "enable.idempotence": idempotent, "message.timeout.ms": 1000 * timeout_s,
        }
        if request_bytes_max:
            settings["message.max.bytes"] = request_bytes_max
        producer = Producer(settings)
        delivered = []
        for record in records:
            arguments = {"timestamp": record.timestamp} if record.timestamp is not None else {}
            producer.produce(topic, partition=partition, key=record.key, value=record.value, headers=record.headers,
                             on_delivery=lambda error, message: delivered.append((error, message)), **arguments)
            producer.poll(0)
        producer.flush(timeout_s + 5)
        for error, _ in delivered:
            if error is not None:
                raise KafkaException(error)
        if len(delivered) != len(records):
            raise TimeoutError(f"{len(delivered)} of {len(records)} delivered")
        return {"offsets": sorted(message.offset() for _, message in delivered)}

    def stream(self, topic, partition, until, burst):
        producer = Producer({
            "bootstrap.servers": self.bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 0,
            "batch.size": 2000, "message.timeout.ms": 120_000, "reconnect.backoff.max.ms": 200,
        })
        acked, sent = set(), 0

        def delivered(error, message):
            if error is None:
                acked.add(int(message.value()))
        while not os.path.exists(until):
            for _ in range(burst):
                producer.produce(topic, partition=partition, value=b"%d" % sent, on_delivery=delivered)
                sent += 1
            producer.poll(0.005)
        producer.flush(60)
        return {"sent": sent, "acked": len(acked), "failed": sorted(set(range(sent)) - acked)}

    def _consumer(self, group, topic_must_exist=True):
        return Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": group, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "session.timeout.ms": 10000, "fetch.wait.max.ms": 100,
            "allow.auto.create.topics": not topic_must_exist,
        })

    def _poll(self, consumer, count):
        records, deadline = [], time.monotonic() + TIMEOUT_S
        while len(records) < count and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            records.append(record_reply(message.partition(), message.offset(), message.key(), message.value(),
                                        message.headers(), message.timestamp()[1]))
        return records

    def consume(self, topic, partition, offset, count):
        consumer = self._consumer("unused")
        try:
            consumer.assign([TopicPartition(topic, partition, offset)])
            return {"records": self._poll(consumer, count)}
        finally:
            consumer.close()

    def group(self, group, topic, count):
        consumer = self._consumer(group)
        try:
            consumer.subscribe([topic])
            records = self._poll(consumer, count)
            ends = {}
            for record in records:
                ends[record["p"]] = record["o"] + 1
            consumer.commit(offsets=[TopicPartition(topic, p, o) for p, o in ends.items()], asynchronous=False)
            return {"records": records}
        finally:
            consumer.close()

    def offset(self, topic, partition, at):
        where = TopicPartition(topic, partition)
        spec = {-1: OffsetSpec.latest, -2: OffsetSpec.earliest, -3: OffsetSpec.max_timestamp}.get(at)
        spec = spec() if spec else OffsetSpec.for_timestamp(at)
        return {"offset": self.admin.list_offsets({where: spec})[where].result(TIMEOUT_S).offset}

    def create(self, topic, partitions, configs):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=configs)
        self.admin.create_topics([new])[topic].result(TIMEOUT_S)
        return {}

    def delete(self, topic):
        self.admin.delete_topics([topic])[topic].result(TIMEOUT_S)
        return {}

    def add_partitions(self, topic, total):
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(TIMEOUT_S)
        return {}

    def partitions(self, topic):
        described = self.admin.describe_topics(confluent_kafka.TopicCollection([topic]))[topic].result(TIMEOUT_S)
        return {"partitions": len(described.partitions)}

    def topics(self):
        return {"topics": list(self.admin.list_topics(timeout=TIMEOUT_S).topics)}

    def config(self, topic, name):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        return {"value": self.admin.describe_configs([resource])[resource].result(TIMEOUT_S)[name].value}

    def alter(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)
        return {}


serve(Driver)
