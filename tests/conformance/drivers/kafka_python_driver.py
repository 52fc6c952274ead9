"""kafka-python: the pure Python client, idempotent by default since version 3."""
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.structs import OffsetAndMetadata

from driver_loop import record_reply, serve

TIMEOUT_S = 20


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self._admin = None

    @property
    def admin(self):
        if self._admin is None:
            self._admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        return self._admin

    def hello(self):
        return {"client": f"kafka-python {kafka.__version__}", "cannot": ["null-header"]}

    def produce(self, topic, partition, codec, records, idempotent=False, request_bytes_max=None,
                timeout_s=TIMEOUT_S):
        settings = {"max_request_size": request_bytes_max} if request_bytes_max else {}
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=20,
                                 compression_type=None if codec == "none" else codec,
                                 enable_idempotence=idempotent, max_block_ms=1000 * timeout_s, **settings)
        try:
            futures = [producer.send(topic, value=r.value, key=r.key, headers=r.headers, timestamp_ms=r.timestamp,
                                     partition=None if partition < 0 else partition) for r in records]
            producer.flush(timeout_s)
            return {"offsets": sorted(f.get(timeout_s).offset for f in futures)}
        finally:
            producer.close(timeout=5)

    def _consumer(self, group):
        return KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False,
                             auto_offset_reset="earliest", fetch_max_wait_ms=100, session_timeout_ms=10000,
                             allow_auto_create_topics=False)

    def _poll(self, consumer, count):
        records, deadline = [], time.monotonic() + TIMEOUT_S
        while len(records) < count and time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=500, max_records=count - len(records)).values():
                records += [record_reply(r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
                            for r in batch]
        return records

    def consume(self, topic, partition, offset, count):
        consumer = self._consumer(None)
        try:
            where = TopicPartition(topic, partition)
            consumer.assign([where])
            consumer.seek(where, offset)
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
                ends[TopicPartition(topic, record["p"])] = OffsetAndMetadata(record["o"] + 1, "", -1)
            consumer.commit(ends)
            return {"records": records}
        finally:
            consumer.close()

    def offset(self, topic, partition, at):
        where = TopicPartition(topic, partition)
        consumer = self._consumer(None)
        try:
            if at == -1:
                return {"offset": consumer.end_offsets([where])[where]}
            if at == -2:
                return {"offset": consumer.beginning_offsets([where])[where]}
            found = consumer.offsets_for_times({where: at})[where]
            return {"offset": found.offset if found else -1}
        finally:
            consumer.close()

    def create(self, topic, partitions, configs):
        self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        return {}

    def delete(self, topic):
        self.admin.delete_topics([topic])
        return {}

    def add_partitions(self, topic, total):
        self.admin.create_partitions({topic: NewPartitions(total)})
        return {}

    def partitions(self, topic):
        return {"partitions": len(self.admin.describe_topics([topic])[0]["partitions"])}

    def topics(self):
        return {"topics": list(self.admin.list_topics())}

    def config(self, topic, name):
        reply = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        return {"value": reply["topic"][topic][name]["value"]}

    def alter(self, topic, name, value):
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])
        return {}


serve(Driver)
