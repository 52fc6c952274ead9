// franz-go: opens with ApiVersions v5, idempotent by default, and uses the newest version of everything.
package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"conformance/wire"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var bootstrap = os.Args[1]

func client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.UnknownTopicRetries(1), kgo.MetadataMinAge(50 * time.Millisecond),
	}, options...)...)
}

func codecOf(name string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[name]
}

func produce(command *wire.Command) (wire.Reply, error) {
	options := []kgo.Opt{
		kgo.ProducerBatchCompression(codecOf(command.Codec)), kgo.ProducerLinger(20 * time.Millisecond),
		kgo.RecordDeliveryTimeout(command.SendTimeout()), kgo.AllowAutoTopicCreation(),
	}
	if !command.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	if command.Partition >= 0 {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if command.RequestBytesMax > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(command.RequestBytesMax))
	}
	producer, err := client(options...)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	records := make([]*kgo.Record, 0, len(command.Records))
	for _, from := range command.Records {
		record := &kgo.Record{Topic: command.Topic, Partition: command.Partition, Key: from.Key, Value: from.Value}
		for _, header := range from.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		if from.Timestamp != nil {
			record.Timestamp = time.UnixMilli(*from.Timestamp)
		}
		records = append(records, record)
	}
	offsets := []int64{}
	for _, result := range producer.ProduceSync(context.Background(), records...) {
		if result.Err != nil {
			return nil, result.Err
		}
		offsets = append(offsets, result.Record.Offset)
	}
	slices.Sort(offsets)
	return wire.Reply{"offsets": offsets}, nil
}

func stream(command *wire.Command) (wire.Reply, error) {
	producer, err := client(
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(1024),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(1_000_000),
	)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	var mutex sync.Mutex
	acked, failed := 0, []int{}
	sent := command.Stream(func(number int, value []byte) {
		record := &kgo.Record{Topic: command.Topic, Partition: command.Partition, Value: value}
		producer.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
			mutex.Lock()
			defer mutex.Unlock()
			if err == nil {
				acked++
			} else {
				failed = append(failed, number)
			}
		})
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := producer.Flush(ctx); err != nil {
		return nil, err
	}
	return wire.Reply{"sent": sent, "acked": acked, "failed": failed}, nil
}

func poll(consumer *kgo.Client, count int) ([]wire.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
	defer cancel()
	records := []wire.Record{}
	for len(records) < count && ctx.Err() == nil {
		fetches := consumer.PollRecords(ctx, count-len(records))
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		fetches.EachRecord(func(from *kgo.Record) {
			timestamp := from.Timestamp.UnixMilli()
			record := wire.Record{
				Partition: from.Partition, Offset: from.Offset, Key: from.Key, Value: from.Value,
				Headers: []wire.Header{}, Timestamp: &timestamp,
			}
			for _, header := range from.Headers {
				record.Headers = append(record.Headers, wire.Header{Name: header.Key, Value: header.Value})
			}
			records = append(records, record)
		})
	}
	return records, nil
}

func consume(command *wire.Command) (wire.Reply, error) {
	start := map[string]map[int32]kgo.Offset{
		command.Topic: {command.Partition: kgo.NewOffset().At(command.Offset)},
	}
	consumer, err := client(kgo.ConsumePartitions(start))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	records, err := poll(consumer, command.Count)
	return wire.Reply{"records": records}, err
}

func group(command *wire.Command) (wire.Reply, error) {
	consumer, err := client(
		kgo.ConsumerGroup(command.Group), kgo.ConsumeTopics(command.Topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10*time.Second),
	)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	records, err := poll(consumer, command.Count)
	if err != nil {
		return nil, err
	}
	ends := map[int32]kgo.EpochOffset{}
	for partition, end := range wire.Ends(records) {
		ends[partition] = kgo.EpochOffset{Epoch: -1, Offset: end}
	}
	var failure error
	commit := map[string]map[int32]kgo.EpochOffset{command.Topic: ends}
	consumer.CommitOffsetsSync(context.Background(), commit, func(
		_ *kgo.Client, _ *kmsg.OffsetCommitRequest, reply *kmsg.OffsetCommitResponse, err error,
	) {
		failure = err
		if err == nil {
			for _, topic := range reply.Topics {
				for _, partition := range topic.Partitions {
					failure = errors.Join(failure, kerr.ErrorForCode(partition.ErrorCode))
				}
			}
		}
	})
	return wire.Reply{"records": records}, failure
}

func withAdmin(work func(context.Context, *kadm.Client) (wire.Reply, error)) (wire.Reply, error) {
	connected, err := client()
	if err != nil {
		return nil, err
	}
	defer connected.Close()
	ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
	defer cancel()
	return work(ctx, kadm.NewClient(connected))
}

func offset(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (wire.Reply, error) {
		var listed kadm.ListedOffsets
		var err error
		switch command.At {
		case -1:
			listed, err = admin.ListEndOffsets(ctx, command.Topic)
		case -2:
			listed, err = admin.ListStartOffsets(ctx, command.Topic)
		default:
			listed, err = admin.ListOffsetsAfterMilli(ctx, command.At, command.Topic)
		}
		if err != nil {
			return nil, err
		}
		found, _ := listed.Lookup(command.Topic, command.Partition)
		return wire.Reply{"offset": found.Offset}, found.Err
	})
}

func create(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (wire.Reply, error) {
		configs := map[string]*string{}
		for name, value := range command.Configs {
			configs[name] = &value
		}
		_, err := admin.CreateTopic(ctx, command.Partitions, 1, configs, command.Topic)
		return wire.Reply{}, err
	})
}

func remove(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (wire.Reply, error) {
		_, err := admin.DeleteTopic(ctx, command.Topic)
		return wire.Reply{}, err
	})
}

func addPartitions(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (wire.Reply, error) {
		replies, err := admin.UpdatePartitions(ctx, int(command.Total), command.Topic)
		if err == nil {
			err = replies.Error()
		}
		return wire.Reply{}, err
	})
}

func partitions(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (wire.Reply, error) {
		topics, err := admin.ListTopics(ctx, command.Topic)
		if err == nil {
			err = topics.Error()
		}
		return wire.Reply{"partitions": len(topics[command.Topic].Partitions)}, err
	})
}

func topics(*wire.Command) (wire.Reply, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (wire.Reply, error) {
		topics, err := admin.ListTopics(ctx)
		return wire.Reply{"topics": topics.Names()}, err
	})
}

func config(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (wire.Reply, error) {
		resources, err := admin.DescribeTopicConfigs(ctx, command.Topic)
		if err != nil {
			return nil, err
		}
		for _, entry := range resources[0].Configs {
			if entry.Key == command.Name {
				return wire.Reply{"value": entry.Value}, nil
			}
		}
		return wire.Reply{"value": nil}, resources[0].Err
	})
}

func alter(command *wire.Command) (wire.Reply, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (wire.Reply, error) {
		change := kadm.AlterConfig{Op: kadm.SetConfig, Name: command.Name, Value: &command.Value}
		replies, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, command.Topic)
		if err == nil {
			err = replies[0].Err
		}
		return wire.Reply{}, err
	})
}

func hello(*wire.Command) (wire.Reply, error) {
	return wire.Reply{"client": "franz-go " + wire.Version("github.com/twmb/franz-go"), "cannot": []string{}}, nil
}

func main() {
	wire.Serve(map[string]func(*wire.Command) (wire.Reply, error){
		"hello": hello, "produce": produce, "stream": stream, "consume": consume, "group": group, "offset": offset, "create": create,
		"delete": remove, "add-partitions": addPartitions, "partitions": partitions, "topics": topics,
		"config": config, "alter": alter,
	})
}
