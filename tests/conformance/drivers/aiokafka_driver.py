"""aiokafka: the asyncio client; it still opens with ApiVersions v0 and old versions of everything."""
import asyncio
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from driver_loop import record_reply, serve

TIMEOUT_S = 20


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.loop = asyncio.new_event_loop()

    def hello(self):
        # It has neither a null header value nor IncrementalAlterConfigs.
        return {"client": f"aiokafka {aiokafka.__version__}", "cannot": ["null-header", "alter"]}

    def _run(self, coroutine, timeout_s=TIMEOUT_S + 10):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, timeout_s))

    def produce(self, timeout_s=TIMEOUT_S, **arguments):
        return self._run(self._produce(**arguments), timeout_s)

    async def _produce(self, topic, partition, codec, records, idempotent=False, request_bytes_max=None):
        settings = {"max_request_size": request_bytes_max} if request_bytes_max else {}
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=20,
                                    compression_type=None if codec == "none" else codec,
                                    enable_idempotence=idempotent, **settings)
        await producer.start()
        try:
            futures = [await producer.send(topic, value=r.value, key=r.key, headers=r.headers,
                                           timestamp_ms=r.timestamp, partition=None if partition < 0 else partition)
                       for r in records]
            return {"offsets": sorted([(await f).offset for f in futures])}
        finally:
            await producer.stop()

    def _consumer(self, group, *topics):
        return AIOKafkaConsumer(*topics, bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False,
                                auto_offset_reset="earliest", fetch_max_wait_ms=100, session_timeout_ms=10000)

    @staticmethod
    async def _poll(consumer, count):
        records, deadline = [], time.monotonic() + TIMEOUT_S
        while len(records) < count and time.monotonic() < deadline:
            batches = await consumer.getmany(timeout_ms=500, max_records=count - len(records))
            for batch in batches.values():
                records += [record_reply(r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
                            for r in batch]
        return records

    def consume(self, topic, partition, offset, count):
        async def consume():
            consumer = self._consumer(None)
            await consumer.start()
            try:
                where = TopicPartition(topic, partition)
                consumer.assign([where])
                consumer.seek(where, offset)
                return {"records": await self._poll(consumer, count)}
            finally:
                await consumer.stop()
        return self._run(consume())

    def group(self, group, topic, count):
        async def consume():
            consumer = self._consumer(group, topic)
            await consumer.start()
            try:
                records = await self._poll(consumer, count)
                ends = {}
                for record in records:
                    ends[TopicPartition(topic, record["p"])] = record["o"] + 1
                await consumer.commit(ends)
                return {"records": records}
            finally:
                await consumer.stop()
        return self._run(consume())

    def offset(self, topic, partition, at):
        async def find():
            where = TopicPartition(topic, partition)
            consumer = self._consumer(None)
            await consumer.start()
            try:
                if at == -1:
                    return (await consumer.end_offsets([where]))[where]
                if at == -2:
                    return (await consumer.beginning_offsets([where]))[where]
                found = (await consumer.offsets_for_times({where: at}))[where]
                return found.offset if found else -1
            finally:
                await consumer.stop()
        return {"offset": self._run(find())}

    def _admin(self, use):
        async def run():
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await admin.start()
            try:
                return await use(admin)
            finally:
                await admin.close()
        return self._run(run())

    def create(self, topic, partitions, configs):
        new = NewTopic(topic, partitions, 1, topic_configs=configs)
        raise_topic_errors(self._admin(lambda admin: admin.create_topics([new])))
        return {}

    def delete(self, topic):
        raise_topic_errors(self._admin(lambda admin: admin.delete_topics([topic])))
        return {}

    def add_partitions(self, topic, total):
        self._admin(lambda admin: admin.create_partitions({topic: NewPartitions(total)}))
        return {}

    def partitions(self, topic):
        described = self._admin(lambda admin: admin.describe_topics([topic]))
        return {"partitions": len(described[0]["partitions"])}

    def topics(self):
        return {"topics": self._admin(lambda admin: admin.list_topics())}

    def config(self, topic, name):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        replies = self._admin(lambda admin: admin.describe_configs([resource]))
        for reply in replies:
            for described in reply.resources:
                for entry in described[4]:
                    if entry[0] == name:
                        return {"value": entry[1]}
        return {"value": None}


def raise_topic_errors(reply):
    """aiokafka hands the error codes of topic operations back instead of raising them."""
    errors = getattr(reply, "topic_errors", None) or getattr(reply, "topic_error_codes", None) or []
    for entry in errors:
        if entry[1] != 0:
            raise aiokafka.errors.for_code(entry[1])(f"{entry}")


serve(Driver)
