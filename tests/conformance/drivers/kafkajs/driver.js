// kafkajs: the JavaScript client; it speaks old API versions and its own group protocol dialect.
// One JSON command per input line, one JSON reply per output line; the commands are in tests/conformance/README.md.
const readline = require("readline");
const { Kafka, CompressionCodecs, CompressionTypes, ConfigResourceTypes, logLevel } = require("kafkajs");
const lz4 = require("lz4-napi");
const snappy = require("kafkajs-snappy");
const zstd = require("@bokuweb/zstd-wasm");

CompressionCodecs[CompressionTypes.Snappy] = snappy;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: async (buffer) => lz4.decompressFrame(buffer),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
});
const CODECS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 };
const TIMEOUT_MS = 20000;

const kafka = new Kafka({
  brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry: { retries: 2, initialRetryTime: 100 },
});
const decode = (text) => (text === null || text === undefined ? null : Buffer.from(text, "base64"));
const encode = (data) => (data === null || data === undefined ? null : Buffer.from(data).toString("base64"));

// kafkajs wants headers as an object whose values may be lists, so only one order of names is possible.
function headersOf(pairs) {
  const headers = {};
  for (const [name, value] of pairs) (headers[name] = headers[name] || []).push(decode(value));
  return headers;
}

function pairsOf(headers) {
  return Object.entries(headers || {}).flatMap(([name, values]) =>
    [].concat(values).map((value) => [name, encode(value)]));
}

async function use(client, work) {
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.disconnect();
  }
}

const withAdmin = (work) => use(kafka.admin(), work);

// Runs a consumer until it has `count` records, then commits behind them and leaves.
async function read(group, topic, count, { seek, keep }) {
  const consumer = kafka.consumer({
    groupId: group, sessionTimeout: 10000, maxWaitTimeInMs: 100, allowAutoTopicCreation: false,
  });
  return use(consumer, async () => {
    const records = [];
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, TIMEOUT_MS);
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          if (records.length >= count || (seek && (partition !== seek.partition || +message.offset < seek.offset))) return;
          records.push({
            p: partition, o: +message.offset, k: encode(message.key), v: encode(message.value),
            t: +message.timestamp, h: pairsOf(message.headers),
          });
          if (records.length === count) {
            clearTimeout(timer);
            resolve();
          }
        },
      });
      if (seek) consumer.seek({ topic, partition: seek.partition, offset: String(seek.offset) });
    });
    const ends = {};
    for (const record of records) ends[record.p] = record.o + 1;
    const offsets = Object.entries(ends).map(([p, o]) => ({ topic, partition: +p, offset: String(o) }));
    if (keep) await consumer.commitOffsets(offsets);
    return { records };
  });
}

const operations = {
  async hello() {
    await zstd.init();
    return { client: `kafkajs ${require("kafkajs/package.json").version}`, cannot: ["null-header"],
      // It knows AlterConfigs only, not its successor.
      needs: { alter: 33 } };
  },
  async produce({ topic, partition, codec, records, idempotent }) {
    const messages = records.map((record) => ({
      key: decode(record.k), value: decode(record.v), headers: headersOf(record.h || []),
      timestamp: record.t === null || record.t === undefined ? undefined : String(record.t),
      partition: partition < 0 ? undefined : partition,
    }));
    const settings = idempotent ? { idempotent: true, maxInFlightRequests: 1 } : {};
    return use(kafka.producer(settings), async (producer) => {
      await producer.send({ topic, messages, acks: -1, compression: CODECS[codec] });
      return { offsets: null };
    });
  },
  // There is no consumer without a group: a fresh group and a seek come closest.
  async consume({ topic, partition, offset, count }) {
    return read(`seek-${process.hrtime.bigint()}`, topic, count, { seek: { partition, offset }, keep: false });
  },
  async group({ group, topic, count }) {
    return read(group, topic, count, { keep: true });
  },
  async offset({ topic, partition, at }) {
    return withAdmin(async (admin) => {
      const all = at < 0 ? await admin.fetchTopicOffsets(topic) : await admin.fetchTopicOffsetsByTimestamp(topic, at);
      const found = all.find((entry) => entry.partition === partition);
      return { offset: +(at === -2 ? found.low : found.offset) };
    });
  },
  async create({ topic, partitions, configs }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
    const one = { topic, numPartitions: partitions, replicationFactor: 1, configEntries };
    const created = await withAdmin((admin) => admin.createTopics({ topics: [one], waitForLeaders: true }));
    if (!created) throw new Error("the topic exists already");
    return {};
  },
  async delete({ topic }) {
    await withAdmin((admin) => admin.deleteTopics({ topics: [topic] }));
    return {};
  },
  async "add-partitions"({ topic, total }) {
    await withAdmin((admin) => admin.createPartitions({ topicPartitions: [{ topic, count: total }] }));
    return {};
  },
  async partitions({ topic }) {
    const { topics } = await withAdmin((admin) => admin.fetchTopicMetadata({ topics: [topic] }));
    return { partitions: topics[0].partitions.length };
  },
  async topics() {
    return { topics: await withAdmin((admin) => admin.listTopics()) };
  },
  async config({ topic, name }) {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic }];
    const reply = await withAdmin((admin) => admin.describeConfigs({ resources, includeSynonyms: false }));
    return { value: reply.resources[0].configEntries.find((entry) => entry.configName === name).configValue };
  },
  async alter({ topic, name, value }) {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }];
    await withAdmin((admin) => admin.alterConfigs({ resources, validateOnly: false }));
    return {};
  },
};

// Refusals that kafkajs wraps lose their reason unless the cause is told too.
function describe(error) {
  const parts = [];
  for (let at = error; at; at = at.cause || at.originalError) parts.push(`${at.name}: ${at.type || ""} ${at.message}`);
  for (const inner of error.errors || []) parts.push(`${inner.type || inner.name}: ${inner.message}`);
  return parts.join(" / ");
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { op, ...rest } = JSON.parse(line);
    let reply;
    try {
      reply = await operations[op](rest);
    } catch (error) {
      reply = { error: describe(error) };
    }
    process.stdout.write(JSON.stringify(reply) + "\n");
  }
  process.exit(0);
})();
